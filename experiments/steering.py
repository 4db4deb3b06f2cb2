"""Do policies steer? Strangers of the text world get answers to new questions, and their true tastes judge.

    python experiments/steering.py [--seeds 5] [--jobs 2] [--keep FOLDER] [--parts ours others] [--out FILE] [--fast]

Per seed: one reward model; then policies of one modulator and one budget. Judged are 100 unseen people on two unseen
questions each. Steering efficiency is the gold reward gained over the unsteered base as a share of what the policy told
the true tastes gains; "of Bayes" is that as a share of what the told policy gains when it is fed the tastes that an
observer who knows the world expects after the same choices. All is drawn with top_p 0.9, and by a policy only what the
base could draw too (`Sampling.within_base`). Rows:

    NP-DPO                    ours: z inferred, taught by the reward model
    NP-DPO, FiLM              the same with the paper's modulator
    NP-DPO, soft user token   the same with P-RLHF's: one vector at the beginning of the prompt
    NP-DPO on choices         the published objective: taught by single choices
    told, as Bayes believes   the told policy fed by the Bayes-optimal observer
    shuffled user             ours with another person's choices
    DPO for everybody         told nothing, taught by single choices
    one policy per type       8 types by k-means; a stranger gets the nearest type's
    soup of types             the types' adapters averaged, as probable as each is (inferred rewarded soup)
    best of 16                of the base, under the inferred reward
    choices in the prompt     the base behind as many chosen answers as leave 150 tokens for its own; others have 320

Each part of a seed is kept in FOLDER, with the answers, so a run that was stopped goes on under the same settings, and
one part may follow another: a method is compared with what its own seeds say of the others. After a change of code,
give another folder.
"""

import json
import multiprocessing
import tempfile
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel

from _report import finish, machine, parser, table
from _steering_report import report, summarise
from tacit.files import write_json
from tacit_experiments.steering import (
    KS,
    NAT,
    ROOM,
    Outcome,
    Setting,
    SteeringWorld,
    best_of_pool,
    continuum,
    directions,
    draw_pool,
    find_types,
    generated,
    judged,
    opposed,
    train_arm,
    with_examples,
)  # fmt: skip

SOME = (0, 5, 10, 20)
PARTS = ("ours", "others")


def main() -> None:
    """Train, judge, print the tables, write JSON."""
    made = parser(__doc__)
    made.add_argument("--seeds", type=int, default=5)
    made.add_argument("--first", type=int, default=40, help="the first seed; settings are chosen on 0 to 2")
    made.add_argument("--jobs", type=int, default=2, help="seeds at a time")
    made.add_argument("--keep", type=Path, help="folder for each seed's numbers and answers")
    made.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="ours: NP-DPO, the told and everybody's")
    options = made.parse_args()
    setting = Setting()
    if options.fast:
        options.seeds = options.jobs = 1
        short = {"max_steps": 2, "eval_steps": 2, "per_device_train_batch_size": 4, "eval_users": 4}
        setting = Setting(
            users=120, choices_per_user=40, answers_per_prompt=4, reward_steps=40, judges=4, questions=1,
            training=setting.training.model_copy(update=short),
        )  # fmt: skip
    with tempfile.TemporaryDirectory() as temporary:
        keep = options.keep or Path(temporary)
        keep.mkdir(parents=True, exist_ok=True)
        seeds = range(options.first, options.first + options.seeds)
        wanted = [(part, seed) for part in options.parts for seed in seeds]
        left = [(part, seed) for part, seed in wanted if not kept(keep / f"{seed}-{part}.json", setting)]
        alone = [
            seed for seed in seeds if ("ours", seed) not in wanted and not kept(keep / f"{seed}-ours.json", setting)
        ]
        if alone:
            made.error(f"'others' is compared with 'ours', which is not kept for seed {alone[0]}; add it to --parts")
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(max(1, options.jobs), mp_context=context, max_tasks_per_child=1) as pool:
            running = [pool.submit(run, part, seed, setting, keep, options.fast) for part, seed in left]
            for one in running:
                one.result()
        parts = [(part, seed) for part in PARTS for seed in seeds if kept(keep / f"{seed}-{part}.json", setting)]
        found = [json.loads((keep / f"{seed}-{part}.json").read_text()) for part, seed in parts]
    result = {
        "machine": machine(), "fast": options.fast, "training": setting.training.model_dump(mode="json"),
        "policy": setting.policy.model_dump(mode="json"), **summarise(found),
    }  # fmt: skip
    report(result, table)
    finish(result, options.out)


def kept(file: Path, setting: Setting) -> bool:
    """Whether these numbers are there, made under the same settings: never those of --fast, or of yesterday's."""
    return file.exists() and json.loads(file.read_text())["setting"] == _said(setting)


def _said(setting: Setting) -> dict[str, Any]:
    """All settings as plain JSON."""
    values = {field.name: getattr(setting, field.name) for field in fields(setting)} | {"ks": list(KS), "nat": NAT}
    return {name: one.model_dump(mode="json") if isinstance(one, BaseModel) else one for name, one in values.items()}


def run(part: str, seed: int, setting: Setting, keep: Path, fast: bool) -> None:
    """One part of one seed, into `keep`."""
    torch.set_num_threads(1)
    world = SteeringWorld(seed, setting)
    with tempfile.TemporaryDirectory() as folder:
        if part == "ours":
            numbers = _ours(world, Path(folder), 4 if fast else 210)
        else:
            numbers = _others(world, Path(folder), 4 if fast else 64)
    write_json(keep / f"{seed}-{part}.json", {"seed": seed, "setting": _said(setting), **numbers})


def _ours(world: SteeringWorld, folder: Path, count: int) -> dict[str, Any]:
    """Ours, and what it is measured against; `count` answers at least at every point of the continuum."""
    ours, truth = train_arm(world, folder, "inferred"), train_arm(world, folder, "truth")
    mixed = train_arm(world, folder, "nothing")
    z, scale = {k: world.latents(k) for k in KS}, world.world.scale
    found: dict[str, dict[int, Outcome]] = {
        "unsteered": {0: generated(world, ours, None)},
        "told": {0: generated(world, truth, world.tastes / scale)},
        "NP-DPO": {k: generated(world, ours, z[k]) for k in KS},
        "told, as Bayes believes": {k: generated(world, truth, world.believed(k) / scale) for k in SOME[1:]},
        "shuffled user": {k: generated(world, ours, world.latents(k, shuffled=1)) for k in SOME[1:]},
        "DPO for everybody": {0: generated(world, mixed, torch.zeros(len(world.tastes), 1))},
    }
    plain, ends, samples = found["unsteered"][0], opposed(z[20]), -(-count // len(world.prompts))
    asked = zip(world.questions, world.tastes.tolist(), strict=True)
    said = zip(plain.answers, found["NP-DPO"][10].answers, found["told"][0].answers, strict=True)
    return {
        "methods": _numbers(found),
        "directions": directions(world, found["NP-DPO"][10], plain),
        "continuum": continuum(world, ours, z[20], ends, samples=samples).tolist(),
        "continuum_answers_a_point": len(world.prompts) * samples,
        "answers": [
            {"question": questions[0], "tastes": taste, "unsteered": a[0], "k = 10": b[0], "told": c[0]}
            for (questions, taste), (a, b, c) in zip(asked, said, strict=True)
        ],
    }  # fmt: skip


def _others(world: SteeringWorld, folder: Path, count: int) -> dict[str, Any]:
    """What else can be trained on the same choices, and what needs no training; `count` answers pooled."""
    types = find_types(world)
    single, typed = train_arm(world, folder, "choices"), train_arm(world, folder, "types", types=types)
    film, soft = (train_arm(world, folder, "inferred", kind=kind) for kind in ("film", "soft_token"))
    z, pool = {k: world.latents(k) for k in SOME}, draw_pool(world, film, count)
    return {"methods": _numbers({
        "best of 64 by true taste": {0: judged(world, film, best_of_pool(world, pool, 64, None))},
        "best of 16": {k: judged(world, film, best_of_pool(world, pool, 16, z[k])) for k in SOME},
        "choices in the prompt": {
            20: generated(world, film, None, with_examples(world, 20, film), max_new_tokens=ROOM)
        },
        "NP-DPO, FiLM": {k: generated(world, film, z[k]) for k in SOME},
        "NP-DPO, soft user token": {k: generated(world, soft, z[k]) for k in SOME},
        "NP-DPO on choices": {k: generated(world, single, z[k]) for k in SOME},
        "one policy per type": {k: generated(world, typed, types.nearest(z[k])) for k in SOME},
        "soup of types": {k: generated(world, typed, types.shares(z[k])) for k in SOME},
    })}  # fmt: skip


def _numbers(found: Mapping[str, Mapping[int, Outcome]]) -> dict[str, dict[str, Any]]:
    """What the summary needs: by method and k."""
    return {
        name: {
            str(k): {
                "gold": outcome.gold.tolist(), "words_each": outcome.words.tolist(), "apart": outcome.apart,
                "malformed": outcome.malformed, **vars(outcome.health),
            }
            for k, outcome in by_k.items()
        }
        for name, by_k in found.items()
    }  # fmt: skip


if __name__ == "__main__":
    main()
