"""Three ways of training a policy on the same preferences, each with its speed, its memory and the work it did."""

import os
import random
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

from tacit.choices import Choice, ChoiceTable
from tacit.engines import TransformersEngine, load_base
from tacit.policies import PolicyTrainingConfig
from tacit.policies.base_log_probs import reference_log_probs
from tacit.policies.latents import choice_evidence
from tacit.policies.pairs import PolicyPairs, tokenise
from tacit.policies.steered_pairs import SteeredPairs, length_groups
from tacit.policies.trainer import PolicyTrainer
from tacit.rewards import RewardConfig, RewardModel
from tacit.rewards.network import RewardNetwork
from tacit.steering import SteerablePolicy

__all__ = ["ARMS", "RANK", "WARM_UP", "Measured", "Preference", "Work", "measure"]

RANK, ALPHA, RATE, BETA = 8, 16, 5e-4, 0.1
WIDTH = 512
WARM_UP = 2
"""Steps at the beginning that are not counted."""
PADDED_SHARE = 4
"""One of so many steps is enough of the padded loop, whose every step costs the same."""

Preference = dict[str, str]


@dataclass(frozen=True)
class Work:
    """What an arm is to do: so many steps on these preferences, `batch` pairs a step."""

    base: Path
    preferences: Sequence[Preference]
    batch: int
    steps: int
    device: str
    dtype: str


@dataclass(frozen=True)
class Measured:
    """What an arm did after its warm-up.

    Attributes:
        length, response: tokens of every row that a loss was worked out on, and those of them that are the response,
            which the loss sums over; a response's end is one.
        positions: how many of them the base ran on, padding included and the reference not.
        seconds: of all those steps.
        reference_seconds: spent on the reference before training; None where every step works it out.
        losses: of each step, warm-up included.
        peak_gib: of the device if it is a GPU, else of the process.
    """

    length: list[int]
    response: list[int]
    positions: int
    seconds: float
    reference_seconds: float | None
    losses: list[float]
    peak_gib: float

    @property
    def speed(self) -> float:
        """Response tokens per second."""
        return sum(self.response) / self.seconds


def measure(arm: str, work: Work) -> Measured:
    """Run one arm; meant to be all that a process does, since memory is its process's."""
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = os.environ["TQDM_DISABLE"] = "1"
    torch.manual_seed(0)
    meter = Meter(work.device)
    reference_seconds = ARMS[arm](work, meter)
    if work.device.startswith("cuda"):
        peak = torch.cuda.max_memory_allocated(work.device) / 2**30
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    length, response = (torch.cat(rows[WARM_UP:]).tolist() for rows in (meter.length, meter.response))
    losses = torch.stack(meter.losses).tolist()
    positions = sum(POSITIONS[arm](step.tolist()) for step in meter.length[WARM_UP:])
    return Measured(length, response, positions, meter.seconds, reference_seconds, losses, peak)


@dataclass
class Meter:
    """Lengths of the rows that every step's loss was worked out on, and the time from the end of warm-up on.

    Shapes:
        length, response: Int64[rows] of each step: real tokens, and those of them that are the response.
    """

    device: str
    length: list[Tensor] = field(default_factory=list)
    response: list[Tensor] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)
    seconds: float = 0.0
    _started: float = 0.0

    def see(self, length: Tensor, response: Tensor, loss: Tensor) -> None:
        """One step's rows, once."""
        self.length.append(length)
        self.response.append(response)
        self.losses.append(loss.detach())

    def step_ends(self, done: int, steps: int) -> None:
        """Read the clock where it matters; a GPU is waited for there and nowhere else."""
        if done in (WARM_UP, steps):
            now = clock(self.device)
            self._started, self.seconds = (now, 0.0) if done == WARM_UP else (self._started, now - self._started)

    def watch(self, trainer: Any, rows: Callable[[dict[str, Any]], tuple[Tensor, Tensor]]) -> None:
        """Of a `Trainer`: `rows` reads length and response off the batch that a loss is worked out on.

        What collators hand out is no measure: they run ahead, and before training too.
        """
        compute, meter = trainer.compute_loss, self

        def compute_loss(model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
            loss = compute(model, inputs, *args, **kwargs)
            meter.see(*rows(inputs), loss)
            return loss

        class Ends(TrainerCallback):
            def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                meter.step_ends(state.global_step, state.max_steps)

        trainer.compute_loss = compute_loss
        trainer.add_callback(Ends)


def clock(device: str) -> float:
    """Now, in seconds, with all done that a GPU was asked for."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return time.perf_counter()


# -- arms --------------------------------------------------------------------------------------------------------------


def ours(work: Work, meter: Meter) -> float:
    """NP-DPO with gated LoRA: a context drawn and a z inferred for every pair, the reference worked out beforehand."""
    table = ChoiceTable.from_choices([
        Choice.pair(row["user_id"], row["prompt"], row["chosen"], row["rejected"]) for row in work.preferences
    ])  # fmt: skip
    reward = RewardModel(RewardNetwork(64, RewardConfig()).eval())
    base = load_base(str(work.base), device=work.device, dtype=work.dtype)
    policy = SteerablePolicy.new(base, reward)
    policy.modulator.to(base.device)
    engine = TransformersEngine(base, policy)
    rows, _ = tokenise(engine.dialogue, table.item_texts(), torch.ones(table.n_items, dtype=torch.bool))
    began = clock(work.device)
    reference = reference_log_probs(engine, rows)
    reference_seconds = clock(work.device) - began
    index = table.index()
    config = PolicyTrainingConfig(
        teacher="choices", sft_weight=0.0, max_steps=work.steps, per_device_train_batch_size=work.batch,
        learning_rate=RATE, beta=BETA, eval_steps=10**6,
    )  # fmt: skip
    pairs = PolicyPairs.build(
        index, choice_evidence(reward, index, torch.randn(table.n_items, 64)), rows, reference, reward,
        engine.dialogue, max_context=config.max_context, seed=config.seed,
    )  # fmt: skip

    with tempfile.TemporaryDirectory() as folder:
        trainer = PolicyTrainer(
            SteeredPairs(engine, config), pairs, config, lambda: {"loss": 0.0},
            folder=Path(folder), run="", emit=lambda event: None,
        )  # fmt: skip
        meter.watch(trainer, lambda batch: (batch["mask"].sum(1), batch["response"]))
        trainer.train()
    return reference_seconds


def by_trl(work: Work, meter: Meter) -> float:
    """DPO with ordinary LoRA by TRL: its length grouping, told the longer row of each pair; reference beforehand."""
    from datasets import Dataset, disable_progress_bars
    from peft import LoraConfig
    from transformers import PrinterCallback
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer

    disable_progress_bars()
    reference_seconds = 0.0

    class Timed(DPOTrainer):
        def compute_ref_log_probs(self, model: Any, inputs: Any) -> Any:
            nonlocal reference_seconds
            began = clock(work.device)
            found = super().compute_ref_log_probs(model, inputs)
            reference_seconds += clock(work.device) - began
            return found

    data = [
        {"prompt": row["prompt"] + "\n", "chosen": row["chosen"], "rejected": row["rejected"],
         "length": max(len(row[side].split()) for side in ("chosen", "rejected"))}
        for row in work.preferences
    ]  # fmt: skip
    model, tokenizer = _base(work)
    with tempfile.TemporaryDirectory() as folder:
        arguments = DPOConfig(
            output_dir=folder, max_steps=work.steps, per_device_train_batch_size=work.batch,
            learning_rate=RATE, beta=BETA,
            precompute_ref_log_probs=True, train_sampling_strategy="group_by_length", length_column_name="length",
            remove_unused_columns=False,  # or the lengths are gone before it groups by them
            max_length=None, activation_checkpointing=False, bf16=work.dtype == "bfloat16",
            use_cpu=work.device == "cpu", dataloader_pin_memory=work.device != "cpu", disable_tqdm=True,
            report_to="none", logging_strategy="no", save_strategy="no",
        )  # fmt: skip
        trainer = Timed(
            model=model, args=arguments, train_dataset=Dataset.from_list(data), processing_class=tokenizer,
            peft_config=_lora(LoraConfig),
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        meter.watch(trainer, lambda batch: (batch["attention_mask"].sum(1), batch["completion_mask"].sum(1)))
        trainer.train()
    return reference_seconds


def padded(work: Work, meter: Meter) -> None:
    """The plain loop: every row padded to 512 tokens, logits of all of them, the reference again in every step."""
    from peft import LoraConfig, get_peft_model

    base, tokenizer = _base(work)
    model: Any = get_peft_model(base, _lora(LoraConfig))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=RATE, fused=True)

    def log_probs(ids: Tensor, mask: Tensor, response: Tensor) -> Tensor:
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1].float()
        each = logits.log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)
        return (each * response[:, 1:]).sum(1)

    steps = WARM_UP + -(-(work.steps - WARM_UP) // PADDED_SHARE)
    for done, rows in enumerate(_spread(work, steps, tokenizer), 1):
        batch = [part.to(work.device) for part in rows]
        with torch.no_grad(), model.disable_adapter():
            reference = log_probs(*batch)
        chosen, rejected = (log_probs(*batch) - reference).chunk(2)
        loss = -functional.logsigmoid(BETA * (chosen - rejected)).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        meter.see(batch[1].sum(1), batch[2].sum(1), loss)
        meter.step_ends(done, steps)


def _spread(work: Work, steps: int, tokenizer: Any) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Batches of pairs from all over the range of lengths: ids, mask and response mask, Int64[rows 512] each."""
    ordered = sorted(work.preferences, key=lambda row: len(row["chosen"]) + len(row["rejected"]))
    needed = steps * work.batch
    some = [ordered[number * len(ordered) // needed] for number in range(needed)]
    random.Random(0).shuffle(some)
    for step in range(steps):
        ids, mask, response = (torch.zeros(2 * work.batch, WIDTH, dtype=torch.int64) for _ in range(3))
        batch = some[step * work.batch : (step + 1) * work.batch]
        for place, (side, row) in enumerate((side, row) for side in ("chosen", "rejected") for row in batch):
            prompt = tokenizer(row["prompt"] + "\n")["input_ids"]
            whole = [*prompt, *tokenizer(row[side])["input_ids"], tokenizer.eos_token_id]
            ids[place, : len(whole)] = torch.tensor(whole)
            mask[place, : len(whole)] = response[place, len(prompt) : len(whole)] = 1
        yield ids, mask, response


def _base(work: Work) -> tuple[Any, Any]:
    model: Any = AutoModelForCausalLM.from_pretrained(work.base, dtype=getattr(torch, work.dtype))
    return model.to(work.device), AutoTokenizer.from_pretrained(work.base)


def _lora(kind: Any) -> Any:
    return kind(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM")


ARMS: dict[str, Callable[[Work, Meter], float | None]] = {"ours": ours, "TRL": by_trl, "padded": padded}
POSITIONS: dict[str, Callable[[list[int]], int]] = {
    "ours": lambda lengths: sum(len(group) * lengths[group[-1]] for group in length_groups(lengths)),
    "TRL": lambda lengths: len(lengths) * max(lengths),
    "padded": lambda lengths: len(lengths) * WIDTH,
}
"""On how many positions the base runs for one step's rows of these lengths."""
