"""Logs as they mostly are, with two answers a prompt: what do policies learn from them, and from answers of the base?

    python experiments/two_answers.py [--seeds 2] [--jobs 2] [--out two_answers.json] [--fast]

The text world with two answers to every prompt in place of 32. Judged are 60 unseen people on four unseen questions
each, by their true tastes; all is drawn as in `steering.py`. Rows:

    unsteered             the base
    choices               NP-DPO taught by the choices, with the others' beta and SFT term
    two answers           taught by the reward model, which can only relabel the two
    and some by the base  the same, where the base first writes 16 answers a prompt for the reward model to compare
    another's choices     that policy with another person's choices
"""

import multiprocessing
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from _report import finish, machine, parser, table
from tacit_experiments.steering import Outcome, Setting, SteeringWorld, generated, train_arm

KS = (5, 20)
WRITTEN = 16
ARMS = {"choices": ("choices", 0), "two answers": ("inferred", 0), "and some by the base": ("inferred", WRITTEN)}


def main() -> None:
    """Train, judge, print the table, write JSON."""
    made = parser(__doc__)
    made.add_argument("--seeds", type=int, default=2)
    made.add_argument("--first", type=int, default=50, help="the first seed; settings are chosen on 0 to 2")
    made.add_argument("--jobs", type=int, default=2, help="seeds at a time")
    options = made.parse_args()
    setting = Setting(answers_per_prompt=2, judges=60, questions=4)
    if options.fast:
        options.seeds = options.jobs = 1
        short = {"max_steps": 2, "eval_steps": 2, "per_device_train_batch_size": 4, "eval_users": 4}
        setting = replace(
            setting, users=120, choices_per_user=40, reward_steps=40, judges=4, questions=1,
            training=setting.training.model_copy(update=short),
        )  # fmt: skip
    seeds = list(range(options.first, options.first + options.seeds))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max(1, options.jobs), mp_context=context, max_tasks_per_child=1) as pool:
        found = list(pool.map(run, seeds, [setting] * len(seeds), [2 if options.fast else WRITTEN] * len(seeds)))
    print(f"\n{len(found)} seeds of {found[0]['people']} people")
    table(
        ["", "k", "gold, nats", "malformed, %", "nats from the base"],
        [
            [name, k, *(f"{scale * mean(one['rows'][row][key] for one in found):.2f}"
                        for key, scale in (("gold", 1), ("malformed", 100), ("apart", 1)))]
            for row, (name, k) in enumerate((one["name"], one["k"]) for one in found[0]["rows"])
        ],
    )  # fmt: skip
    result = {"machine": machine(), "fast": options.fast, "training": setting.training.model_dump(mode="json")}
    finish(result | {"written": WRITTEN, "seeds": found}, options.out)


def run(seed: int, setting: Setting, written: int) -> dict[str, Any]:
    """One seed."""
    torch.set_num_threads(1)
    world, rows = SteeringWorld(seed, setting), list[dict[str, Any]]()

    def add(name: str, k: int, outcome: Outcome) -> None:
        gold = outcome.gold.mean(1)
        rows.append({
            "name": name, "k": k, "gold": float(gold.mean()), "error": float(gold.std() / len(gold) ** 0.5),
            "malformed": outcome.malformed, "apart": outcome.apart,
        })  # fmt: skip

    with tempfile.TemporaryDirectory() as folder:
        for name, (arm, count) in ARMS.items():
            engine = train_arm(world, Path(folder), arm, written=min(count, written))
            if not rows:
                add("unsteered", 0, generated(world, engine, None))
            for k in KS:
                add(name, k, generated(world, engine, world.latents(k)))
        for k in KS:
            add("another's choices", k, generated(world, engine, world.latents(k, shuffled=1)))
    return {
        "seed": seed, "people": len(world.questions), "prompts": len({prompt for prompt, _ in world.known_items}),
        "rows": rows,
    }  # fmt: skip


if __name__ == "__main__":
    main()
