"""Training a policy: response tokens per second against TRL's DPOTrainer, same base, pairs, LoRA rank and precision.

    python experiments/policy_training.py [--shape tiny] [--pairs 512] [--repeats 3] [--out policy.json] [--fast]

- ours: NP-DPO with gated LoRA of rank 8 on every linear map, a context drawn and a z inferred for every pair.
- TRL: DPOTrainer, ordinary LoRA of rank 8 on every linear map, its own length grouping, precomputed reference.
- padded: a plain loop; every row padded to 512 tokens, the reference computed again with the adapter off.

A random base; float32 on a CPU, bfloat16 on a GPU. Prompts of 32 tokens; responses of 128 (equal), or of median 96,
sigma 0.6, clipped to 8..448 (log-normal). Every step takes 8 pairs. Counted are real tokens of the responses of both
sides that a step's loss sums over, ends included, once a step; not the first two steps, nor the reference of the first
two arms, whose seconds are given apart.

By default the counted steps are one pass over the pairs: TRL goes through windows of batches, longest batch first, so
its first steps are not like all. A window has a quarter of the batches, 50 at most; ours has 32. With --pairs 1600 or
more both are at their full size. The padded loop, whose every step costs the same, makes a quarter of the steps on
pairs from all over the range of lengths. Every run of an arm is a process of its own, whose peak memory is given.

Utilisation (--peak-tflops) counts what the rows need of any arm, without padding, reference or anything done twice:
2 operations per token and weight of the blocks' linear maps forward, 2 backward (to activations only: the base is
frozen), 6 per weight of the adapter, 4 per response token and weight of the head, and 6 T^2 per block and unit of width
for the attention of a row of T tokens, of which a token sees only those before it. The gate of z is left out.
"""

import math
import random
import tempfile
from argparse import Namespace
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from _language_model import SHAPES, answer, random_base
from _policy_arms import ARMS, RANK, WARM_UP, Measured, Preference, Work, measure
from _report import alternate, finish, machine, median, parser, ratio, table

BATCH, PROMPT = 8, 32
LENGTHS = ("equal", "log-normal")
BARS = {"equal": {"TRL": 1.0, "padded": 4.0}, "log-normal": {"TRL": 1.3, "padded": 4.0}}
"""How many times as fast ours should be."""


def main() -> None:
    """Run every arm on both kinds of lengths, print, write JSON."""
    made = parser(__doc__)
    made.add_argument("--shape", choices=list(SHAPES), default="tiny")
    made.add_argument("--pairs", type=int, default=512)
    made.add_argument("--steps", type=int, help=f"of which {WARM_UP} are not counted; default: one pass more than that")
    made.add_argument("--repeats", type=int, default=3)
    made.add_argument("--peak-tflops", type=float, help="what the device could do at best in this precision")
    options = made.parse_args()
    batch = BATCH
    if options.fast:
        batch, options.shape, options.pairs, options.steps, options.repeats = 2, "tiny", 16, WARM_UP + 2, 1
    options.steps = options.steps or WARM_UP + options.pairs // batch
    if options.steps <= WARM_UP or options.pairs < batch:
        made.error(f"--steps must be more than {WARM_UP}, --pairs at least {batch}")
    dtype = "bfloat16" if options.device.startswith("cuda") else "float32"
    result: dict[str, Any] = {
        "machine": machine(options.device), "fast": options.fast, "shape": options.shape, "precision": dtype,
        "pairs": options.pairs, "pairs_per_step": batch, "rank": RANK, "steps": options.steps,
    }  # fmt: skip
    print(f"{options.shape}, {dtype} on {options.device}, {options.steps} steps of {batch} pairs\n")
    with tempfile.TemporaryDirectory() as folder, Processes(fresh=not options.fast) as processes:
        base = Path(folder) / "base"
        processes(partial(random_base, dtype=getattr(torch, dtype)), base, options.shape)
        work = Work(base, [], batch, options.steps, options.device, dtype)
        for lengths in LENGTHS:
            filled = replace(work, preferences=preferences(options.pairs, lengths, options.seed))
            result[lengths] = compare(filled, lengths, options, processes)
    finish(result, options.out)


class Processes:
    """Calls functions in other processes: fresh ones, since a peak of memory is a process's, or all in the same.

    A process starts from the peak of the one that starts it, so this one stays small: it does not even make the base.
    """

    def __init__(self, *, fresh: bool) -> None:
        self.fresh, self.pool = fresh, ProcessPoolExecutor(1, get_context("spawn"))

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *raised: object) -> None:
        self.pool.shutdown()

    def __call__(self, function: Callable[..., Any], *given: Any) -> Any:
        found = self.pool.submit(function, *given).result()
        if self.fresh:  # the pool's own max_tasks_per_child can hang before Python 3.12
            self.pool.shutdown()
            self.pool = ProcessPoolExecutor(1, get_context("spawn"))
        return found


def preferences(pairs: int, lengths: str, seed: int) -> list[Preference]:
    """Choices of some users, of random words; a response's end counts as one of its tokens."""
    rng = random.Random(seed)

    def response() -> str:
        tokens = 128 if lengths == "equal" else min(448, max(8, round(96 * rng.lognormvariate(0, 0.6))))
        return answer(rng, tokens - 1)

    return [
        {"user_id": f"user-{number % max(2, pairs // 16)}", "prompt": answer(rng, PROMPT),
         "chosen": response(), "rejected": response()}
        for number in range(pairs)
    ]  # fmt: skip


def compare(work: Work, lengths: str, options: Namespace, processes: Processes) -> dict[str, Any]:
    """All arms on one kind of lengths, printed."""
    runs: dict[str, list[Measured]] = {name: [] for name in ARMS}

    def run(name: str) -> float:
        runs[name].append(processes(measure, name, work))
        return runs[name][-1].speed

    speed = alternate({name: partial(run, name) for name in ARMS}, options.repeats)
    arms = {name: summary(found, options.shape, options.peak_tflops) for name, found in runs.items()}
    against = {name: ratio(speed["ours"], speed[name]) | {"bar": bar} for name, bar in BARS[lengths].items()}
    table(
        [lengths, "response tokens/s", "computed per response token", "reference, s", "peak, GiB", "first loss",
         "last loss", "utilisation"],
        [
            [
                name, f"{arm['response_tokens_per_second']:.0f}", f"{arm['positions_per_response_token']:.2f}",
                "every step" if arm["reference_seconds"] is None else f"{arm['reference_seconds']:.1f}",
                f"{arm['peak_gib']:.2f}", f"{arm['first_loss']:.4f}", f"{arm['last_loss']:.4f}",
                f"{arm['utilisation']:.1%}" if "utilisation" in arm else "-",
            ]
            for name, arm in arms.items()
        ],
    )  # fmt: skip
    table(
        ["ours is faster than", "times", "quartiles", "bar", ""],
        [
            [
                name, f"{found['median_of_paired']:.2f}",
                f"{found['lower_quartile']:.2f} to {found['upper_quartile']:.2f}", f"{found['bar']:.1f}",
                "reached" if found["median_of_paired"] >= found["bar"] else "missed",
            ]
            for name, found in against.items()
        ],
    )  # fmt: skip
    return {"arms": arms, "ours_over": against}


def summary(runs: list[Measured], shape: str, peak_tflops: float | None) -> dict[str, Any]:
    """Medians over the runs of one arm."""
    if not all(math.isfinite(loss) for run in runs for loss in run.losses):
        raise SystemExit("a loss is not finite, so the speed means nothing")
    if any(
        whole - response != PROMPT for run in runs for whole, response in zip(run.length, run.response, strict=True)
    ):
        raise SystemExit(f"a prompt is not of {PROMPT} tokens, so the lengths are not those that are claimed")
    found: dict[str, Any] = {
        "response_tokens_per_second": median(run.speed for run in runs),
        "response_tokens": sum(runs[0].response),
        "positions_per_response_token": runs[0].positions / sum(runs[0].response),
        "reference_seconds": None,
        "peak_gib": median(run.peak_gib for run in runs),
        "first_loss": runs[0].losses[0],
        "last_loss": runs[0].losses[-1],
    }
    seconds = [run.reference_seconds for run in runs if run.reference_seconds is not None]
    if seconds:
        found["reference_seconds"] = median(seconds)
    if peak_tflops:
        found["utilisation"] = median(useful(shape, run) / run.seconds for run in runs) / (peak_tflops * 1e12)
    return found


def useful(shape: str, run: Measured) -> float:
    """Floating-point operations that the rows of a run need of any arm; the module's docstring says how counted."""
    size: dict[str, int] = SHAPES[shape]
    width, inner, blocks = size["hidden_size"], size["intermediate_size"], size["num_hidden_layers"]
    shared = width // size["num_attention_heads"] * size["num_key_value_heads"]
    maps = [(width, width), (width, shared), (width, shared), (width, width), (width, inner), (width, inner),
            (inner, width)]  # fmt: skip
    per_token = blocks * sum(4 * a * b + 6 * RANK * (a + b) for a, b in maps)
    attention = 6 * blocks * width * sum(tokens**2 for tokens in run.length)
    return per_token * sum(run.length) + 4 * width * size["vocab_size"] * sum(run.response) + attention


if __name__ == "__main__":
    main()
