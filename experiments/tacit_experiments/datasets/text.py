"""Text worlds: people of known tastes choose between readable answers to 130 prompts, with or without flipped choices.

The texts of a seed are the same for every kind of people, so all text tasks of one seed share their vectors. Users of
all parts choose on training prompts; validation and test users choose on their own target prompts besides.

`flips` turns that share of the training and context choices round, in all parts. **Targets stay as chosen**, so
accuracies with more and less noise are about the same questions. A task with fewer flips has a subset of the flips of
the one with more, and is the same otherwise.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from tacit.episodes.hashing import mix, step_generator
from tacit.evaluation.benchmark.datasets import Sources
from tacit.evaluation.benchmark.task import Part, Task, describe_parts
from tacit.worlds.text import ATTRIBUTES, TextWorld, calibrate_scale
from tacit_experiments.datasets.folds import Sides, divide_groups
from tacit_experiments.datasets.pairs import group_mask, pair_index

__all__ = ["N_USERS", "PARTS", "RESPONSES", "Kind", "People", "Side", "build_text_task", "text_task"]

Kind = Literal["discrete", "sphere", "two"]

PARTS = {"train": 600, "validation": 150, "test": 250}  # users
N_USERS = sum(PARTS.values())
TARGET_PROMPTS = {"validation": 22, "test": 30}
TRAIN_CHOICES, CONTEXT_CHOICES, TARGET_CHOICES = 40, 30, 20  # per user
RESPONSES = 8
TWO_TYPES = ({"length": 1.0, "warmth": 2.0}, {"length": -1.0, "formality": 2.0})
ORACLE_ACCURACY = 0.875  # as TextWorld has it
_TASTES, _CHOICES, _FLIPS = 411, 412, 413  # independent streams of one seed


@dataclass(frozen=True)
class Side:
    """The context or target choices of one part, as they are about to be made.

    Shapes: users Int64[users], numbers among all people; count: choices of each; targets: whether they are targets;
    stream: a number of their own, for random draws.
    """

    users: Tensor
    count: int
    targets: bool
    stream: int


@dataclass(frozen=True)
class People:
    """Everybody of a task, part after part in the order of `PARTS`.

    Shapes:
        weights: Float32[users attributes], their tastes when targets are asked.
        types: Int64[users], or None where everybody is different.
        moment: for the choices of a side, the tastes Float32[users attributes] or Float32[users choices attributes] and
            the times Float64[users choices] in seconds; None where tastes stand still and nobody has a clock.
    """

    weights: Tensor
    types: Tensor | None = None
    moment: Callable[[Side], tuple[Tensor, Tensor]] | None = None


def text_task(seed: int, sources: Sources, *, name: str, users: Kind, flips: float = 0.0) -> Task:
    """A text world.

    Args:
        seed: fixes texts, people, prompts held out, choices and flips.
        sources: embeds the texts.
        name: the task's.
        users: "discrete": ten types, each for or against one attribute; "sphere": everybody different; "two": one type
            likes warm, long answers and the other formal, short ones.
        flips: share of training and context choices turned round.
    """
    world = TextWorld.generate(
        seed,
        responses_per_prompt=RESPONSES,
        n_users=N_USERS,
        choices_per_user=1,
        oracle_accuracy=ORACLE_ACCURACY,
        users="discrete" if users == "discrete" else "sphere",
    )
    if users == "two":
        people = _two_types(world, seed)
    elif users == "discrete":
        people = People(world.weights, torch.cat([world.weights, -world.weights], dim=1).argmax(1))
    else:
        people = People(world.weights)
    return build_text_task(seed, sources, name, world, people, flips=flips)


def build_text_task(
    seed: int, sources: Sources, name: str, world: TextWorld, people: People, *, flips: float = 0.0
) -> Task:
    """The task of `people` (`N_USERS` of them) choosing in a world."""
    prompts = divide_groups(len(world.prompts), seed, **TARGET_PROMPTS)
    ends = np.cumsum(list(PARTS.values()))
    users = dict(zip(PARTS, torch.arange(N_USERS).tensor_split(ends[:-1].tolist()), strict=True))
    train, validation, test = (_part(seed, world, people, part, users[part], prompts, flips) for part in PARTS)
    facts = describe_parts(train, validation, test) | {"prompts": len(world.prompts)}
    if flips:
        facts |= {"flipped_share": flips, "flipped": "training and context choices; targets are as chosen"}
    if people.types is not None:
        facts["types_disagree"] = round(_disagreement(test), 4)
    return Task(
        name=name,
        seed=seed,
        vectors=sources.vectors(list(world.items)),
        train=train,
        validation=validation,
        test=test,
        texts=world.items,
        facts=facts,
    )


def _part(seed: int, world: TextWorld, people: People, part: str, users: Tensor, prompts: Sides, flips: float) -> Part:
    """One part: context (or training) choices on training prompts, then targets on the part's own."""
    held_out = torch.zeros(0, dtype=torch.int64) if part == "train" else getattr(prompts, part)
    stream = 2 * list(PARTS).index(part)
    sides = [(prompts.train, Side(users, TRAIN_CHOICES if part == "train" else CONTEXT_CHOICES, False, stream))]
    if len(held_out):
        sides.append((held_out, Side(users, TARGET_CHOICES, True, stream + 1)))
    pairs, times = [], []
    for among, side in sides:
        rng = np.random.default_rng(mix(seed, _CHOICES, side.stream))
        tastes, time = (people.weights[users], None) if people.moment is None else people.moment(side)
        drawn = world.draw_choices(tastes, among, side.count, rng)
        if flips and not side.targets:
            generator = step_generator(seed, _FLIPS, side.stream)
            flipped = torch.rand(drawn.shape[:2], generator=generator).unsqueeze(-1) < flips
            drawn = torch.where(flipped, drawn.flip(-1), drawn)
        pairs.append(drawn)
        times.append(time)
    return Part(
        pair_index(torch.cat(pairs, dim=1), world.prompt_of, None if None in times else torch.cat(times, dim=1)),
        group_mask(held_out, len(world.prompts)),
        None if people.types is None else people.types[users],
        people.weights[users] @ world.attributes.T,
    )


def _two_types(world: TextWorld, seed: int) -> People:
    """Balanced in every part; the scale is set as the world sets its own, on pairs of answers to one prompt."""
    tastes = torch.tensor([[wants.get(name, 0.0) for name in ATTRIBUTES] for wants in TWO_TYPES])
    tastes /= tastes.norm(dim=1, keepdim=True)
    first, second = torch.combinations(torch.arange(RESPONSES)).unbind(1)
    attributes = world.attributes.unflatten(0, (-1, RESPONSES))
    margins = (attributes[:, first] - attributes[:, second]) @ tastes.T
    types = torch.arange(N_USERS) % 2
    return People(calibrate_scale(margins.numpy(), ORACLE_ACCURACY) * tastes[types], types)


def _disagreement(part: Part) -> float:
    """How often two users of different types order a target pair differently."""
    assert part.truth is not None
    assert part.types is not None
    _, first = np.unique(part.types.numpy(), return_index=True)
    rewards = part.truth[torch.from_numpy(first)]
    pairs = part.index.items[part.targets[part.index.group].all(1)]
    ahead = (rewards[:, pairs[:, 0]] > rewards[:, pairs[:, 1]]).float()
    share, n = ahead.mean(0), len(ahead)
    return (2 * share * (1 - share) * n / (n - 1)).mean().item()
