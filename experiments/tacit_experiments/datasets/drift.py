"""A text world in which tastes turn over ninety days, and its control in which nobody changes.

Choices of training users, and of the contexts, are spread evenly over the ninety days; targets are asked at their end.
Where people change, each one's weights move at an even pace along the great circle from one direction to another,
independent one, at constant norm. People of both tasks end with the same tastes and choose at the same times.
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from tacit.episodes.hashing import mix, step_generator
from tacit.evaluation.benchmark.datasets import Sources
from tacit.evaluation.benchmark.task import Task
from tacit.worlds.text import ATTRIBUTES, TextWorld, draw_directions
from tacit_experiments.datasets.text import N_USERS, RESPONSES, People, Side, build_text_task

__all__ = ["PERIOD", "drift_task", "turn"]

PERIOD = 90 * 86_400.0  # seconds
_START, _TIMES = 421, 422  # independent streams of one seed


def drift_task(seed: int, sources: Sources, *, name: str, drifting: bool = True) -> Task:
    """People as in `text-sphere`, with times; they change if `drifting`."""
    world = TextWorld.generate(seed, responses_per_prompt=RESPONSES, n_users=N_USERS, choices_per_user=1)
    start = draw_directions("sphere", N_USERS, len(ATTRIBUTES), np.random.default_rng(mix(seed, _START)))
    start = world.scale * torch.from_numpy(start).float()

    def moment(side: Side) -> tuple[Tensor, Tensor]:
        shape = (len(side.users), side.count)
        share = torch.ones(shape, dtype=torch.float64)
        if not side.targets:
            generator = step_generator(seed, _TIMES, side.stream)
            share = torch.rand(shape, generator=generator, dtype=torch.float64)
        tastes = world.weights[side.users]
        return turn(start[side.users], tastes, share) if drifting else tastes, PERIOD * share

    task = build_text_task(seed, sources, name, world, People(world.weights, moment=moment))
    return replace(task, facts=task.facts | {"days": round(PERIOD / 86_400)})


def turn(start: Tensor, end: Tensor, share: Tensor) -> Tensor:
    """Float32[users choices dim], the points at `share` of the way from `start` to `end` on their great circle.

    Shapes: start and end Float32[users dim], of one norm; share Float64[users choices] in [0, 1].
    """
    norm = end.norm(dim=1, keepdim=True)
    cosine = ((start * end).sum(1, keepdim=True) / norm**2).clamp(-1, 1)
    aside = torch.nn.functional.normalize(start - cosine * end, dim=1) * norm
    angle = ((1 - share) * cosine.acos()).float().unsqueeze(-1)
    return angle.cos() * end.unsqueeze(1) + angle.sin() * aside.unsqueeze(1)
