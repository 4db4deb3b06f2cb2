"""The paper's one-dimensional world (arXiv 2412.13998, section 5.1), with targets apart from contexts."""

import torch
from torch import Tensor

from tacit.evaluation.benchmark.datasets import Sources
from tacit.evaluation.benchmark.task import Part, Task, describe_parts
from tacit.worlds import PiecewisePart, PiecewiseWorld, piecewise_reward
from tacit_experiments.datasets.pairs import group_mask

__all__ = ["synthetic_task"]

USERS = (2000, 300, 500)
CHOICES = (60, 60, 160)


def synthetic_task(seed: int, sources: Sources) -> Task:
    """Two types of users choose between numbers without noise; the pairs of each part lie in a pool of their own.

    The target half of the test pool is balanced, so that the Bayes-optimal line is the pool's: `disagreement` in the
    facts is the f of `bayes_optimal_accuracy`. The truth of training users is left out: 320 MB, of use to nobody.
    """
    world = PiecewiseWorld.generate(seed, users=USERS, choices=CHOICES)
    pairs = len(world.disagree)
    validation_pool = world.validation.index.group.unique()
    train = Part(world.train.index, torch.zeros(pairs, dtype=torch.bool), world.train.kind)
    validation = _part(world, world.validation, group_mask(validation_pool[1::2], pairs))
    test = _part(world, world.test, world.balanced_targets())
    return Task(
        name="synthetic",
        seed=seed,
        vectors=world.vectors,
        train=train,
        validation=validation,
        test=test,
        facts=describe_parts(train, validation, test) | {"disagreement": round(world.test.disagreement, 4)},
    )


def _part(world: PiecewiseWorld, users: PiecewisePart, targets: Tensor) -> Part:
    truth = piecewise_reward(world.vectors.T, torch.arange(2).unsqueeze(1))[users.kind]
    return Part(users.index, targets, users.kind, truth)
