"""Is it one's own choices that steer? The text world's strangers get answers written for other strangers.

    python experiments/shuffled_user.py [--first 60] [--seeds 2] [--jobs 2] [--out FILE] [--fast]

The world, policy and budget of `steering.py`, whose one swap a person leaves more to chance: here each of the 100
strangers of a seed gets the answers to their own questions under the choices of eight others in turn. Gained is true
reward over the unsteered base in nats; intervals resample people, whose mean over the eight is one number.
"""

import multiprocessing
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch

from _report import finish, machine, parser, table
from tacit_experiments.steering import Setting, SteeringWorld, generated, train_arm

KS, SWAPS, RESAMPLES = (5, 10), 8, 4000


def main() -> None:
    """Train, judge, print, write JSON."""
    made = parser(__doc__)
    made.add_argument("--seeds", type=int, default=2)
    made.add_argument("--first", type=int, default=60, help="the first seed; settings are chosen on 0 to 2")
    made.add_argument("--jobs", type=int, default=2, help="seeds at a time")
    options = made.parse_args()
    setting = Setting()
    if options.fast:
        short = {"max_steps": 2, "eval_steps": 2, "per_device_train_batch_size": 4, "eval_users": 4}
        setting = Setting(
            users=120, choices_per_user=40, answers_per_prompt=4, reward_steps=40, judges=4, questions=1,
            training=setting.training.model_copy(update=short),
        )  # fmt: skip
        options.seeds = options.jobs = 1
    seeds = range(options.first, options.first + options.seeds)
    with ProcessPoolExecutor(options.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = list(pool.map(run, seeds, [setting] * len(seeds)))
    rows, result = [], {"machine": machine(), "fast": options.fast, "seeds": list(seeds), "gained": {}}
    for k in KS:
        for name in ("own", "others'"):
            gain = torch.tensor([value for one in found for value in one[f"{name} {k}"]])
            drawn = torch.randint(len(gain), (RESAMPLES, len(gain)), generator=torch.Generator().manual_seed(0))
            low, high = gain[drawn].mean(1).quantile(torch.tensor([0.025, 0.975])).tolist()
            by_seed = [float(torch.tensor(one[f"{name} {k}"]).mean()) for one in found]
            result["gained"][f"{name} {k}"] = {"nats": float(gain.mean()), "interval": [low, high], "by_seed": by_seed}
            each = ", ".join(f"{value:+.2f}" for value in by_seed)
            rows.append([f"{name} choices", str(k), f"{float(gain.mean()):+.2f} ({low:+.2f} to {high:+.2f})", each])
    table(["answers written for", "k", "gained over the base, nats (95 %)", "by seed"], rows)
    finish(result, options.out)


def run(seed: int, setting: Setting) -> dict[str, Any]:
    """Gains of one seed's people, in nats: by whose choices and how many."""
    torch.set_num_threads(1)
    world = SteeringWorld(seed, setting)
    with tempfile.TemporaryDirectory() as folder:
        engine = train_arm(world, Path(folder), "inferred")
    plain = generated(world, engine, None).gold.mean(1)
    found = {}
    for k in KS:
        found[f"own {k}"] = (generated(world, engine, world.latents(k)).gold.mean(1) - plain).tolist()
        swaps = range(1, min(SWAPS + 1, len(plain)))
        others = [generated(world, engine, world.latents(k, shuffled=shift)).gold.mean(1) for shift in swaps]
        found[f"others' {k}"] = (torch.stack(others).mean(0) - plain).tolist()
    return found


if __name__ == "__main__":
    main()
