"""Divisions of people and of material into train, validation and test, one for each seed.

**No one tested under any seed validates under any seed, and nothing asked of test people is ever asked of validation
people**, so that settings chosen on the answers of validation people owe nothing to those of test people, however many
seeds are run:

- validation people are the same for all seeds; the others are cut into `FOLDS` folds, and seed s tests fold s mod
  `FOLDS`, so that the first `FOLDS` seeds test everybody once;
- groups (prompts, statements, articles) fall into two fixed halves; a seed draws its validation groups from the first
  and its test groups from the second. All others train, and serve as context.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from tacit.episodes.hashing import step_generator

__all__ = ["FOLDS", "Sides", "divide_groups", "divide_people"]

FOLDS = 5
_FIXED, _PEOPLE, _GROUPS, _DRAW = 401, 1, 2, 3


class Sides(NamedTuple):
    """Numbers of the members of each part, Int64[members], ascending; together everybody, nobody twice."""

    train: Tensor
    validation: Tensor
    test: Tensor


def divide_people(count: int, seed: int, *, validation: float = 0.15) -> Sides:
    """Divide people 0 .. count - 1; `validation` is the share of them that never trains and never is tested."""
    order = torch.randperm(count, generator=step_generator(_FIXED, _PEOPLE))
    developing, others = order.tensor_split([round(validation * count)])
    folds = list(others.tensor_split(FOLDS))
    tested = folds.pop(seed % FOLDS)
    return _sorted(torch.cat(folds), developing, tested)


def divide_groups(count: int, seed: int, *, validation: int, test: int) -> Sides:
    """Divide groups 0 .. count - 1, with `validation` and `test` of them (half of all, at most) in those parts."""
    order = torch.randperm(count, generator=step_generator(_FIXED, _GROUPS))
    train, drawn = [], []
    for place, (half, size) in enumerate(zip(order.tensor_split(2), (validation, test), strict=True)):
        shuffled = half[torch.randperm(len(half), generator=step_generator(seed, _FIXED, _DRAW, place))]
        drawn.append(shuffled[:size])
        train.append(shuffled[size:])
    return _sorted(torch.cat(train), *drawn)


def _sorted(*parts: Tensor) -> Sides:
    return Sides(*(part.sort().values for part in parts))
