"""Writing for many users at once: tokens per second of a steered policy against its own unsteered base.

    python experiments/generation.py [--shape 0.5b] [--batch 1 8 32] [--repeats 7] [--allocator keeping]
        [--out generation.json] [--fast]

A random base of that shape (Qwen2.5's 0.5B by default), gated LoRA of rank 8 on every linear map with weights far from
zero, a different user in every row. Greedy decoding of a fixed number of tokens after a prompt of 64, with the cache,
in a loop of its own (what `generate` adds around a step is the same for every arm); batches of 1, 8 and 32.
In each run the arms take turns token by token, a steered token between two unsteered ones, so that what else the
machine does slows all alike: two equal unsteered arms, with whose mean the steered one is compared, and whose own ratio
says how far from 1 equals come out. Ratios are medians over runs. Memory is the peak of a run of its own, before them:
the device's, or this process's with base and policy in it.

On a CPU glibc is told to keep freed memory while times are taken: by itself it has up to a million pages cleared in a
prompt of 2 048 positions, 2 of 10 seconds, whichever arm it befalls. `--allocator system` leaves that as it is.
"""

import random
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from transformers import DynamicCache

from _language_model import SHAPES, answer, random_base
from _memory import forget_peak, keep_freed, peak_gib
from _report import finish, machine, median, parser, ratio, table
from tacit.choices.conversation import Conversation
from tacit.engines import TransformersEngine, load_base
from tacit.engines.transformers.dialogue import Tokens
from tacit.rewards import RewardConfig, RewardModel
from tacit.rewards.network import RewardNetwork
from tacit.steering import SteerablePolicy

UNSTEERED, STEERED, AGAIN = ARMS = "unsteered", "a user a row", "unsteered again"


def main() -> None:
    """Run both arms at every batch size, print, write JSON."""
    made = parser(__doc__)
    made.add_argument("--shape", choices=list(SHAPES), default="0.5b")
    made.add_argument("--batch", type=int, nargs="+", default=[1, 8, 32])
    made.add_argument("--tokens", type=int, default=32)
    made.add_argument("--repeats", type=int, default=7)
    made.add_argument("--allocator", choices=["keeping", "system"], default="keeping")
    options = made.parse_args()
    if options.fast:
        options.shape, options.tokens, options.repeats = "tiny", 4, 1
    dtype = "bfloat16" if options.device.startswith("cuda") else "float32"
    with tempfile.TemporaryDirectory() as folder:
        base = random_base(Path(folder), options.shape, dtype=getattr(torch, dtype))
        loaded = load_base(str(base), device=options.device, dtype=dtype)
    torch.manual_seed(options.seed)
    policy = SteerablePolicy.new(loaded, RewardModel(RewardNetwork(64, RewardConfig()).eval()))
    with torch.no_grad():
        for parameter in policy.modulator.parameters():
            parameter.normal_(std=0.02)
    engine = TransformersEngine(loaded, policy)
    peaks = {
        batch: {name: peak_of(engine, batch, options.tokens, name) for name in (UNSTEERED, STEERED)}
        for batch in options.batch
    }
    kept = options.allocator == "keeping" and keep_freed()
    result: dict[str, Any] = {
        "machine": machine(options.device), "fast": options.fast, "shape": options.shape, "precision": dtype,
        "tokens": options.tokens, "allocator": "keeping" if kept else "system", "batches": {},
    }  # fmt: skip
    for batch in options.batch:
        runs = [in_turns(engine, batch, options.tokens, ARMS) for _ in range(options.repeats)]
        first, steered, again = ([run[name] for run in runs] for name in ARMS)
        plain = [2 / (1 / a + 1 / b) for a, b in zip(first, again, strict=True)]  # of the mean of their seconds
        result["batches"][batch] = {
            "tokens_per_second": {UNSTEERED: median(plain), STEERED: median(steered)}, "peak_gib": peaks[batch],
            "ratio": ratio(steered, plain), "ratio_of_equals": ratio(again, first),
        }  # fmt: skip
    print(f"{options.shape}, {dtype} on {options.device}, {options.tokens} tokens")
    table(
        ["batch", "unsteered, tokens/s", "a user a row", "ratio", "quartiles", "of equals", "GiB", "GiB, a user a row"],
        [
            [
                str(batch), *(f"{row['tokens_per_second'][name]:.1f}" for name in (UNSTEERED, STEERED)),
                f"{row['ratio']['median_of_paired']:.3f}",
                f"{row['ratio']['lower_quartile']:.3f} to {row['ratio']['upper_quartile']:.3f}",
                f"{row['ratio_of_equals']['median_of_paired']:.3f}",
                *(f"{row['peak_gib'][name]:.2f}" for name in (UNSTEERED, STEERED)),
            ]
            for batch, row in result["batches"].items()
        ],
    )  # fmt: skip
    finish(result, options.out)


def peak_of(engine: TransformersEngine, batch: int, tokens: int, arm: str) -> float:
    """Of one run, after one that allocates what stays."""
    device = str(engine.base.device)
    in_turns(engine, batch, tokens, [arm])
    forget_peak(device)
    in_turns(engine, batch, tokens, [arm])
    return peak_gib(device)


def in_turns(engine: TransformersEngine, batch: int, tokens: int, arms: Sequence[str]) -> dict[str, float]:
    """Tokens per second of each arm, prompt included in the time, the arms a token each in turn."""
    rng = random.Random(0)
    rows = [(engine.dialogue.prompt(Conversation.parse(answer(rng, 64))), 0) for _ in range(batch)]
    prompts = engine.dialogue.batch(rows).to(engine.base.device)
    assert engine.steering is not None
    z = torch.randn(batch, engine.steering.modulator.latent, generator=torch.Generator().manual_seed(0))
    writers = {arm: Writer(engine.base.model, prompts) for arm in arms}
    started = time.perf_counter()
    with engine.steered(z):
        begun = time.perf_counter() - started
        for token in range(tokens):
            for arm in arms if token % 2 == 0 else arms[::-1]:
                with nullcontext() if arm == STEERED else engine.steering.off():
                    writers[arm].write()
    return {arm: batch * tokens / (writer.seconds + begun * (arm == STEERED)) for arm, writer in writers.items()}


class Writer:
    """Writes the likeliest token of every row, with a cache of its own, and counts the seconds that it took."""

    def __init__(self, model: Any, prompts: Tokens) -> None:
        self.seconds = 0.0
        self._model, self._next, self._mask, self._cache = model, prompts.ids, prompts.mask, DynamicCache()

    @torch.inference_mode()
    def write(self) -> None:
        """One token; the first time, after reading the prompts."""
        started = time.perf_counter()
        logits = self._model(
            input_ids=self._next, attention_mask=self._mask, past_key_values=self._cache, use_cache=True,
            logits_to_keep=1,
        ).logits  # fmt: skip
        self._next = logits.argmax(-1)
        self._mask = torch.cat([self._mask, self._mask[:, :1]], 1)
        if self._next.device.type == "cuda":
            torch.cuda.synchronize()
        self.seconds += time.perf_counter() - started


if __name__ == "__main__":
    main()
