"""Do policies steer? Strangers of the text world get answers to new questions, and their true tastes judge.

    python benchmarks/steering.py [--seeds 5] [--out steering.json] [--answers FILE] [--fast]

Per seed: one reward model, then NP-DPO (gated LoRA, and FiLM), DPO for everybody, and a policy of the same modulator
and budget told the true tastes. Judged are 150 unseen people on three new questions each. Steering efficiency is the
gold reward gained over the unsteered base as a share of what the told policy gains. "Bayes" is the told policy fed with
the tastes that an observer who knows the world expects after the same choices; "shuffled" is NP-DPO with another
person's choices. Also: how far answers move for the people who want an attribute most, and how the language fares.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from _report import finish, machine, parser, table
from torch import Tensor

from tacit.policies import PolicyTrainingConfig
from tacit.recipes.steering import KS, Outcome, Setting, SteeringWorld, summary


def main() -> None:
    """Train, judge, print the tables, write JSON."""
    made = parser(__doc__)
    made.add_argument("--seeds", type=int, default=5)
    made.add_argument("--first", type=int, default=10, help="the first seed; no setting was chosen on 10 to 14")
    made.add_argument("--steps", type=int, default=400)
    made.add_argument("--beta", type=float, default=0.1)
    made.add_argument("--rate", type=float, default=2e-3)
    made.add_argument("--skip-film", action="store_true")
    made.add_argument("--answers", help="JSON file for every answer that was judged")
    options = made.parse_args()
    training = PolicyTrainingConfig(
        max_steps=options.steps, learning_rate=options.rate, beta=options.beta, eval_users=32, eval_steps=100
    )
    setting = Setting(training=training)
    if options.fast:
        options.seeds = 1
        setting = Setting(
            users=200, reward_steps=60, judges=8, questions=1,
            training=training.model_copy(update={"max_steps": 4, "eval_steps": 4}),
        )  # fmt: skip
    gold: dict[str, dict[int, list[Tensor]]] = {}
    base, told, seeds, texts = [], [], [], {}
    for seed in range(options.first, options.first + options.seeds):
        found = run(seed, setting, film=not options.skip_film)
        base.append(found["base"].gold)
        told.append(found["told"].gold)
        for name, by_k in found["by_k"].items():
            for k, outcome in by_k.items():
                gold.setdefault(name, {}).setdefault(k, []).append(outcome.gold)
        seeds.append(found["report"])
        texts[seed] = found["texts"]
        joined = {name: {k: torch.cat(parts) for k, parts in by_k.items()} for name, by_k in gold.items()}
        result = {
            "machine": machine(),
            "fast": options.fast,
            "training": training.model_dump(mode="json"),
            "judges": sum(len(part) for part in base),
            "unsteered": float(torch.cat(base).mean()),
            "told": float(torch.cat(told).mean()),
            "methods": summary(joined, torch.cat(base), torch.cat(told)),
            "seeds": seeds,
        }
        report(result)
    if options.answers:
        Path(options.answers).write_text(json.dumps(texts, indent=1))
    finish(result, options.out)


def run(seed: int, setting: Setting, *, film: bool) -> dict[str, Any]:
    """Everything on one seed."""
    world = SteeringWorld(seed, setting)
    with tempfile.TemporaryDirectory() as folder:
        ours = world.train(Path(folder) / "ours")
        mixed = world.train(Path(folder) / "mixed", told="nothing")
        truth = world.train(Path(folder) / "truth", told="truth")
        paper = world.train(Path(folder) / "film", kind="film") if film else None
    plain = world.judge(ours, None)
    told = world.judge(truth, world.tastes / world.world.scale)
    everybody = world.judge(mixed, torch.zeros(len(world.judges), 1))
    by_k: dict[str, dict[int, Outcome]] = {
        "NP-DPO": {k: world.judge(ours, world.latents(k)) for k in KS},
        "shuffled user": {k: world.judge(ours, world.latents(k, shuffled=True)) for k in (5, 20)},
        "told, as Bayes believes": {k: world.judge(truth, world.believed(k)) for k in KS},
        "DPO for everybody": {0: everybody},
    }
    if paper is not None:
        by_k["NP-DPO, FiLM"] = {k: world.judge(paper, world.latents(k)) for k in KS}
    report = {
        "seed": seed,
        "unsteered": float(plain.gold.mean()),
        "told": float(told.gold.mean()),
        "validation": {key: value for key, value in ours.notes.items() if key.startswith("validation")},
        "directions": world.directions(by_k["NP-DPO"][10], plain),
        "health": {
            name: vars(outcome.health) | {"malformed": outcome.malformed}
            for name, outcome in {
                "unsteered": plain, "told": told, "everybody": everybody, "NP-DPO, k = 0": by_k["NP-DPO"][0],
                "NP-DPO, k = 10": by_k["NP-DPO"][10],
            }.items()
        },
    }  # fmt: skip
    texts = [
        {"question": asked[0], "tastes": taste, "unsteered": a[0], "k = 10": b[0], "told": c[0]}
        for asked, taste, a, b, c in zip(
            world.questions, world.tastes.tolist(), plain.answers, by_k["NP-DPO"][10].answers, told.answers,
            strict=True,
        )
    ]  # fmt: skip
    return {"base": plain, "told": told, "by_k": by_k, "report": report, "texts": texts}


def report(result: dict[str, Any]) -> None:
    """Print what was found so far."""
    rows = []
    for name, by_k in result["methods"].items():
        for k, found in by_k.items():
            low, high = found["efficiency_interval"]
            rows.append([name, k, f"{found['gold']:.2f}", f"{found['efficiency']:.2f}", f"{low:.2f} to {high:.2f}"])
    print(f"\n{len(result['seeds'])} seeds, {result['judges']} people; gold reward in nats: unsteered "
          f"{result['unsteered']:.2f}, told the truth {result['told']:.2f}")  # fmt: skip
    table(["method", "k", "gold", "efficiency", "95 %"], rows)
    last = result["seeds"][-1]
    table(["direction, k = 10", "moved, sd"], [[name, f"{value:+.2f}"] for name, value in last["directions"].items()])
    keys = ("perplexity", "malformed", "distinct", "empty", "words")
    table(
        ["language", *keys], [[name, *(f"{found[key]:.3f}" for key in keys)] for name, found in last["health"].items()]
    )


if __name__ == "__main__":
    main()
