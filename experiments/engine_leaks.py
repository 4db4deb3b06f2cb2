"""Does a base stay as it was? The plain forward after 200 policies came and went, against a fresh base's.

    python experiments/engine_leaks.py [--shape tiny] [--policies 200] [--repeats 41] [--out engine_leaks.json] [--fast]

A random base of that shape is loaded four times. On one, policies are created, asked by two users, by a stream and
within the base, and closed one after the other; on the second they are only dropped; nothing was ever opened on the
other two. Then the four take turns in a plain forward, in alternating order, each five times a turn; "of equals" is
the second fresh base against the first, and says how far from 1 equals come out. Counted are modulators that live on,
and modules whose `forward` or hooks are not the original.
"""

import gc
import random
import tempfile
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from _language_model import SHAPES, answer, random_base
from _report import alternate, finish, machine, median, parser, ratio, table
from tacit.engines import Base, Sampling, TransformersEngine, load_base, requests
from tacit.rewards import RewardConfig, RewardModel
from tacit.rewards.network import RewardNetwork
from tacit.steering import SteerablePolicy

FRESH, CLOSED, DROPPED, AGAIN = ARMS = ("fresh", "closed", "dropped", "fresh again")
TOKENS, CALLS = 64, 5


def main() -> None:
    """Open and close, measure, print the table, write JSON."""
    made = parser(__doc__)
    made.add_argument("--shape", choices=list(SHAPES), default="tiny")
    made.add_argument("--policies", type=int, default=200)
    made.add_argument("--repeats", type=int, default=41)
    options = made.parse_args()
    if options.fast:
        options.policies, options.repeats = 4, 3
    torch.manual_seed(options.seed)
    reward = RewardModel(RewardNetwork(64, RewardConfig(members=1)).eval())
    with tempfile.TemporaryDirectory() as folder:
        name = str(random_base(Path(folder), options.shape))
        bases = {arm: load_base(name, device=options.device, dtype="float32") for arm in ARMS}
    began = time.perf_counter()
    alive = {
        arm: sum(
            modulator() is not None for modulator in used(bases[arm], reward, options.policies, close=arm == CLOSED)
        )
        for arm in (CLOSED, DROPPED)
    }
    seconds = time.perf_counter() - began
    times = alternate({arm: plain_forward(base) for arm, base in bases.items()}, options.repeats)
    result: dict[str, Any] = {
        "machine": machine(options.device), "fast": options.fast, "shape": options.shape,
        "policies": options.policies, "seconds": seconds, "arms": {},
    }  # fmt: skip
    for arm, base in bases.items():
        result["arms"][arm] = {
            "milliseconds": median(times[arm]), "ratio": ratio(times[arm], times[FRESH]),
            "modulators_alive": alive.get(arm, 0), "modules_changed": changed(base.model),
        }  # fmt: skip
    print(f"{options.shape} on {options.device}; {options.policies} policies on each base in {seconds:.0f} s")
    table(
        ["policies", "plain forward, ms", "of fresh", "quartiles", "modulators alive", "modules changed"],
        [
            [
                arm, f"{row['milliseconds']:.2f}", f"{row['ratio']['median_of_paired']:.3f}",
                f"{row['ratio']['lower_quartile']:.3f} to {row['ratio']['upper_quartile']:.3f}",
                str(row["modulators_alive"]), str(row["modules_changed"]),
            ]
            for arm, row in result["arms"].items()
        ],
    )  # fmt: skip
    finish(result, options.out)


def used(base: Base, reward: RewardModel, count: int, *, close: bool) -> list[weakref.ref[Any]]:
    """References to the modulators of `count` policies that were created on a base, used, and closed or dropped."""
    watched, rng = [], random.Random(0)
    within = Sampling(max_new_tokens=2, top_p=0.9, within_base=True)
    for seed in range(count):
        policy = SteerablePolicy.new(base, reward, seed=seed)
        engine = TransformersEngine(base, policy)
        z = torch.randn(2, policy.modulator.latent, generator=torch.Generator().manual_seed(seed))
        asked = requests([answer(rng, 8), answer(rng, 5)], z, within)
        engine.generate(asked)
        list(engine.stream(asked[0]))
        watched.append(weakref.ref(policy.modulator))
        if close:
            engine.close()
        del policy, engine
    gc.collect()
    return watched


def plain_forward(base: Base) -> Callable[[], float]:
    """Milliseconds of a forward that nobody steers."""
    ids = torch.randint(4, 2000, (1, TOKENS), generator=torch.Generator().manual_seed(0)).to(base.device)

    @torch.inference_mode()
    def once() -> float:
        base.model(input_ids=ids, use_cache=False)
        started = time.perf_counter()
        for _ in range(CALLS):
            base.model(input_ids=ids, use_cache=False)
        if ids.is_cuda:
            torch.cuda.synchronize()
        return (time.perf_counter() - started) / CALLS * 1000

    return once


def changed(model: Any) -> int:
    """Modules whose `forward` is not their class's, or that have hooks."""
    return sum(
        "forward" in vars(part) or bool(part._forward_hooks) or bool(part._forward_pre_hooks)
        for part in model.modules()
    )


if __name__ == "__main__":
    main()
