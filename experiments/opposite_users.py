"""Two kinds of people who want opposite things: does a policy follow both? The shape of the paper's HH experiment.

    python experiments/opposite_users.py [--seeds 5] [--jobs 2] [--out opposite_users.json] [--fast]

Half of the text world's people like warm, long answers and the other half the opposite. The number is implicit-reward
accuracy: how often the policy, after k choices of a stranger, raises the answer that they choose on a prompt nobody has
seen more than the one they reject. Choices are noisy: somebody who knew each taste exactly would be right "told" often.
A policy that follows one kind only is wrong about the other, so both are reported.
"""

import multiprocessing
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from _report import finish, machine, parser, table
from tacit_experiments.steering import Setting, SteeringWorld, train_arm

KS = (0, 1, 5, 10, 20)
SIDES = ("warm and long", "cold and short")


def main() -> None:
    """Train, ask, print the table, write JSON."""
    made = parser(__doc__)
    made.add_argument("--seeds", type=int, default=5)
    made.add_argument("--first", type=int, default=20, help="the first seed; settings are chosen on 0 to 2")
    made.add_argument("--jobs", type=int, default=2, help="seeds at a time")
    options = made.parse_args()
    setting = Setting(people="two", users=1000, judges=200)
    if options.fast:
        options.seeds = options.jobs = 1
        short = {"max_steps": 2, "eval_steps": 2, "per_device_train_batch_size": 8, "eval_users": 4}
        setting = replace(
            setting, users=120, choices_per_user=40, answers_per_prompt=6, reward_steps=60,
            training=setting.training.model_copy(update=short),
        )  # fmt: skip
    seeds = list(range(options.first, options.first + options.seeds))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max(1, options.jobs), mp_context=context, max_tasks_per_child=1) as pool:
        found = list(pool.map(run, seeds, [setting] * len(seeds)))
    mean = {k: {side: sum(one["accuracy"][str(k)][side] for one in found) / len(found) for side in SIDES} for k in KS}
    print(f"\n{len(found)} seeds; implicit-reward accuracy on unseen prompts, %; told: "
          f"{100 * sum(one['told'] for one in found) / len(found):.1f}")  # fmt: skip
    table(
        ["k", *SIDES, "mean"],
        [[k, *(f"{100 * mean[k][side]:.1f}" for side in SIDES), f"{50 * sum(mean[k].values()):.1f}"] for k in KS],
    )
    result = {"machine": machine(), "fast": options.fast, "training": setting.training.model_dump(mode="json")}
    finish(result | {"seeds": found, "mean": mean}, options.out)


def run(seed: int, setting: Setting) -> dict[str, Any]:
    """One seed."""
    torch.set_num_threads(1)
    world = SteeringWorld(seed, setting)
    with tempfile.TemporaryDirectory() as folder:
        engine = train_arm(world, Path(folder), "inferred")
    accuracy, tastes = world.accuracy(engine, KS)
    warm = tastes.sum(1) > 0
    by_k = {
        str(k): {side: float(accuracy[place, who].nanmean()) for side, who in zip(SIDES, (warm, ~warm), strict=True)}
        for place, k in enumerate(KS)
    }
    return {"seed": seed, "users": len(tastes), "told": world.world.oracle_accuracy(), "accuracy": by_k}


if __name__ == "__main__":
    main()
