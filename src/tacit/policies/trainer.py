"""NP-DPO by `transformers.Trainer`: its loop, devices, processes and precision; our batches, loss and checkpoints."""

import logging
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback, TrainerState, TrainingArguments

from tacit.errors import OutputError
from tacit.events import Listener
from tacit.files import atomic_folder, restore_folder
from tacit.policies.pairs import PairBatches, PolicyPairs
from tacit.policies.steered_pairs import SteeredPairs
from tacit.policies.training_config import PolicyTrainingConfig
from tacit.training import checkpoint as checkpoints
from tacit.training.checkpoint import Progress, another_run, read_checkpoint, read_progress, write_checkpoint
from tacit.training.loop import warmup_cosine

__all__ = ["PolicyTrainer"]

logger = logging.getLogger(__name__)

Validate = Callable[[], dict[str, float]]

_WARM_UP, _CLIP = 0.1, 1.0
"""Share of all steps in which the learning rate rises; the longest gradient."""


class PolicyTrainer(Trainer):
    """Trains the modulator of `steered`, and its encoder if it has one to train, on `pairs`.

    A checkpoint is one atomic folder of safetensors and JSON, without any random state: batches and contexts are
    functions of (seed, step), and nothing else is random.

    Args:
        validate: numbers of the present policy, among them `loss`, which decides what is best.
        folder: where checkpoints live.
        run: fingerprint of everything the trajectory depends on.
        emit: receives training events.
    """

    def __init__(
        self,
        steered: SteeredPairs,
        pairs: PolicyPairs,
        config: PolicyTrainingConfig,
        validate: Validate,
        *,
        folder: Path,
        run: str,
        emit: Listener,
    ) -> None:
        self.config_, self.validate, self.emit = config, validate, emit
        self.checkpoint, self.progress = folder / "checkpoint", Progress(run)
        on_cpu = next(steered.base.parameters()).device.type == "cpu"
        super().__init__(
            model=steered,
            args=_arguments(config, config.steps(len(pairs)), folder, on_cpu=on_cpu),
            train_dataset=pairs,
            eval_dataset=pairs,  # asked for, never read: `evaluate` is our own
            data_collator=pairs.collate,
            callbacks=[_Steps(emit, self.save_in_time)],
        )
        for unwanted in (PrinterCallback, ProgressCallback):
            self.remove_callback(unwanted)
        self.loss_is_scaled_for_ga = False  # a plain mean over the pairs of a forward
        self.best = _weights(steered.learnt)
        self._last: dict[str, float] = {}
        self._saved = time.monotonic()

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Batches of `PairBatches`, one for every process and accumulated forward of a step."""
        pairs: Any = self.train_dataset
        parts = self.args.world_size * self.args.gradient_accumulation_steps
        size = parts * self.args.per_device_train_batch_size
        batches = PairBatches(pairs.lengths(), size, parts, self.args.max_steps, self.config_.seed)
        return self.accelerator.prepare(DataLoader(pairs, batch_sampler=batches, collate_fn=pairs.collate))

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Adam over the modulator, and over the encoder at a rate of its own."""
        if self.optimizer is None:
            steered: Any = self.model
            own = [] if steered.tuned is None else [p for p in steered.tuned.parameters() if p.requires_grad]
            groups = [
                {"params": list(steered.modulator.parameters())},
                {"params": own, "lr": self.config_.encoder_learning_rate},
            ]
            self.optimizer = torch.optim.AdamW(
                [g for g in groups if g["params"]], lr=self.args.learning_rate, weight_decay=0.0, fused=True
            )
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Linear warm-up, then cosine, as the reward model is trained."""
        if self.lr_scheduler is None:
            steps = self.args.max_steps

            def factor(step: int) -> float:
                return warmup_cosine(min(step, steps - 1), steps, _WARM_UP)

            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, factor)
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The loss that `SteeredPairs` gives."""
        outputs = model(**inputs)
        return (outputs["loss"], outputs) if return_outputs else outputs["loss"]

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Validation: what `validate` says, and whether it is the best so far."""
        model: Any = self.model
        step, progress = self.state.global_step, self.progress
        if step == progress.validated and self._last:  # the loop asks again when an epoch ends with it
            return self._last
        model.eval()
        found = self.validate()
        progress.step = progress.validated = step
        if found["loss"] < progress.best.get("loss", float("inf")):
            progress.best, progress.best_step = found, step
            self.best = _weights(model.learnt)
        self._last = {f"eval_{name}": value for name, value in found.items()}
        self.log(self._last)
        return self._last

    # -- checkpoints ---------------------------------------------------------------------------------------------------

    def resumable(self, *, restart: bool = False) -> str | None:
        """The folder to resume from, if a run of the same fingerprint was killed there.

        Raises:
            OutputError: the run there was another, and `restart` is false.
        """
        restore_folder(self.checkpoint)
        if not (self.checkpoint / "trainer_state.json").is_file():
            return None
        found = read_progress(self.checkpoint / "weights")
        if found.run == self.progress.run:
            self.progress = found
            return str(self.checkpoint)
        if not restart:
            raise OutputError(another_run(self.checkpoint.parent))
        return None

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        if self.args.should_save:
            self._write_checkpoint()
        self.accelerator.wait_for_everyone()

    def save_in_time(self) -> None:
        """A checkpoint where the last one is a minute old; the clock of one process counts, and no other waits."""
        if self.args.should_save and time.monotonic() - self._saved >= checkpoints.SECONDS:
            self._write_checkpoint()

    def _write_checkpoint(self) -> None:
        trained: Any = self.model
        self.progress.step = self.state.global_step
        with atomic_folder(self.checkpoint) as folder:
            write_checkpoint(folder / "weights", trained.learnt, self.best, self._inner_optimizer(), self.progress)
            self.state.save_to_json(str(folder / "trainer_state.json"))
        self._saved = time.monotonic()

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        """Weights come with the optimiser's moments, once there is an optimiser."""

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        trained: Any = self.model
        weights = Path(checkpoint) / "weights"
        self.progress, self.best = read_checkpoint(weights, trained.learnt, self._inner_optimizer())
        scheduler: Any = self.lr_scheduler
        scheduler = getattr(scheduler, "scheduler", scheduler)
        scheduler.last_epoch = self.progress.step
        for group, base, factor in zip(
            self._inner_optimizer().param_groups, scheduler.base_lrs, scheduler.lr_lambdas, strict=True
        ):
            group["lr"] = base * factor(self.progress.step)
        logger.info("resuming at step %d of %d", self.progress.step, self.args.max_steps)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Nothing here is drawn from a random state."""

    def _inner_optimizer(self) -> torch.optim.Optimizer:
        optimizer: Any = self.optimizer
        return getattr(optimizer, "optimizer", optimizer)


class _Steps(TrainerCallback):
    """Tells a listener of every step, and of every number that is logged."""

    def __init__(self, emit: Listener, after: Callable[[], None]) -> None:
        self.emit, self.after = emit, after

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: Any, **kwargs: Any) -> None:
        self.emit({"event": "step", "name": "policy", "step": state.global_step, "steps": state.max_steps})
        self.after()

    def on_log(self, args: TrainingArguments, state: TrainerState, control: Any, **kwargs: Any) -> None:
        logs = kwargs.get("logs", {})
        if "train_runtime" in logs:  # a summary, not a moment
            return
        numbers = {name.removeprefix("eval_"): value for name, value in logs.items()}
        kind = "validation" if any(name.startswith("eval_") for name in logs) else "log"
        self.emit({"event": kind, "name": "policy", "step": state.global_step, "steps": state.max_steps, **numbers})


def _arguments(config: PolicyTrainingConfig, steps: int, folder: Path, *, on_cpu: bool) -> TrainingArguments:
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=config.per_device_train_batch_size,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        learning_rate=config.learning_rate,
        max_grad_norm=_CLIP,
        eval_strategy="steps",
        eval_steps=config.eval_steps,
        save_strategy="steps",
        save_steps=config.eval_steps,
        logging_strategy="steps",
        logging_steps=config.eval_steps,
        logging_nan_inf_filter=False,
        seed=config.seed,
        remove_unused_columns=False,
        dataloader_pin_memory=not on_cpu and torch.cuda.is_available(),
        disable_tqdm=True,
        report_to="none",
        use_cpu=on_cpu,
    )
    # Several GPUs without a launcher mean nn.DataParallel to a `Trainer`, whose threads know nothing of our signals.
    arguments._n_gpu = min(1, arguments.n_gpu)
    return arguments


def _weights(modulator: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in deepcopy(modulator.state_dict()).items()}
