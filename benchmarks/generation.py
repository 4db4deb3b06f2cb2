"""Writing for many users at once: tokens per second of a steered policy against its own unsteered base.

    python benchmarks/generation.py [--shape 0.5b] [--repeats 7] [--out generation.json] [--fast]

A random base of that shape (Qwen2.5's 0.5B by default), gated LoRA of rank 8 on every linear map with weights far from
zero, a different user in every row. Greedy decoding of a fixed number of tokens after a prompt of 64, with the cache;
batches of 1, 8 and 32; both arms alternate, and the ratio is the median over pairs of runs. Memory is the peak of a
run of its own: the device's, or this process's with base and policy in it.
"""

import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from _language_model import SHAPES, answer, random_base
from _memory import forget_peak, peak_gib
from _report import alternate, finish, machine, median, parser, ratio, table

from tacit.policies import SteerablePolicy, load_base
from tacit.rewards import RewardConfig, RewardModel
from tacit.rewards.network import RewardNetwork

BATCHES = (1, 8, 32)
ARMS = {"unsteered": False, "a user a row": True}


def main() -> None:
    """Run both arms at every batch size, print, write JSON."""
    made = parser(__doc__)
    made.add_argument("--shape", choices=list(SHAPES), default="0.5b")
    made.add_argument("--tokens", type=int, default=16)
    made.add_argument("--repeats", type=int, default=7)
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
    result: dict[str, Any] = {
        "machine": machine(options.device), "fast": options.fast, "shape": options.shape, "precision": dtype,
        "tokens": options.tokens, "batches": {},
    }  # fmt: skip
    for batch in BATCHES:
        arms = {
            name: lambda batch=batch, steered=steered: speed(policy, batch, options.tokens, steered=steered)
            for name, steered in ARMS.items()
        }
        peaks = {name: peak_of(arm, options.device) for name, arm in arms.items()}
        found = alternate(arms, options.repeats)
        result["batches"][batch] = {
            "tokens_per_second": {name: median(found[name]) for name in arms}, "peak_gib": peaks,
            "ratio": ratio(found["a user a row"], found["unsteered"]),
        }  # fmt: skip
    print(f"{options.shape}, {dtype} on {options.device}, {options.tokens} tokens")
    table(
        ["batch", *(f"{name}, tokens/s" for name in ARMS), "ratio", "quartiles", *(f"{name}, GiB" for name in ARMS)],
        [
            [
                str(batch), *(f"{row['tokens_per_second'][name]:.1f}" for name in ARMS),
                f"{row['ratio']['median_of_paired']:.3f}",
                f"{row['ratio']['lower_quartile']:.3f} to {row['ratio']['upper_quartile']:.3f}",
                *(f"{row['peak_gib'][name]:.2f}" for name in ARMS),
            ]
            for batch, row in result["batches"].items()
        ],
    )  # fmt: skip
    finish(result, options.out)


def peak_of(arm: Callable[[], float], device: str) -> float:
    """Of one run, after one that allocates what stays."""
    arm()
    forget_peak(device)
    arm()
    return peak_gib(device)


@torch.inference_mode()
def speed(policy: SteerablePolicy, batch: int, tokens: int, *, steered: bool) -> float:
    """Tokens per second, prompt included in the time."""
    rng = random.Random(0)
    rows = [(policy.dialogue.prompt(answer(rng, 64)), 0) for _ in range(batch)]
    inputs = policy.dialogue.batch(rows).to(policy.base.device)
    z = torch.randn(batch, policy.modulator.latent, generator=torch.Generator().manual_seed(0)) if steered else None
    started = time.perf_counter()
    with policy.steered(z) as model:
        model.generate(
            input_ids=inputs.ids, attention_mask=inputs.mask, do_sample=False, max_new_tokens=tokens,
            min_new_tokens=tokens, pad_token_id=policy.base.pad,
        )  # fmt: skip
    if policy.base.device.type == "cuda":
        torch.cuda.synchronize()
    return batch * tokens / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
