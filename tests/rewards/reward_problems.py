"""Small problems to fit reward models on, and how well a model then knows its users."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from tacit.choices import ChoiceIndex
from tacit.episodes import ChoiceBatch
from tacit.rewards import PreferenceModel, RewardConfig
from tacit.training import TrainingConfig

SMALL: dict[str, Any] = {
    "latent": 2,
    "members": 1,
    "head": {"hidden": (16,)},
    "dropout": 0.0,
}
PAIRS = {"kind": "additive", "evidence": "network", "hidden": (32,)}
"""The encoder with a network of pairs."""
SHORT: dict[str, Any] = {
    "steps": 150, "users_per_batch": 32, "max_context": 6, "targets": 8, "learning_rate": 0.01,
    "validate_every": 50, "patience": 0, "threads": 1, "device": "cpu",
}  # fmt: skip


def small(**more: Any) -> RewardConfig:
    return RewardConfig.model_validate(SMALL | more)


def short(**more: Any) -> TrainingConfig:
    return TrainingConfig.model_validate(SHORT | more)


@dataclass(frozen=True)
class Problem:
    """Users of two types who agree on an item's first number and disagree on its second, or do not."""

    train: ChoiceIndex
    validation: ChoiceIndex
    test: ChoiceIndex
    vectors: Tensor
    kind: Tensor

    def settings(self) -> dict[str, Any]:
        return {"choices": self.train, "vectors": self.vectors, "validation": self.validation}


def problem(*, differ: bool = True, ties: bool = False, users: int = 100, choices: int = 24, seed: int = 0) -> Problem:
    """Noise-free pairs (close ones tied, if `ties`) over fresh items; each choice is a group of its own."""
    g = torch.Generator().manual_seed(seed)
    n = users * choices
    pair = torch.randn(n, 2, 3, generator=g)
    user = torch.arange(users).repeat_interleave(choices)
    sign = (1.0 - 2.0 * (user % 2)) if differ else torch.ones(n)
    reward = 0.5 * pair[..., 0] + sign.unsqueeze(1) * pair[..., 1]
    gap = reward[:, 0] - reward[:, 1]
    items = 2 * torch.arange(n).unsqueeze(1) + torch.stack([gap < 0, gap >= 0], 1).long()
    rank = torch.tensor([0, 1]).expand(n, 2).clone()
    if ties:
        rank[gap.abs() < 0.4, 1] = 0
    index = ChoiceIndex.build(user, items, rank, torch.arange(n).unsqueeze(1).expand(n, 2), n_users=users)
    cuts = (0, int(0.6 * users), int(0.75 * users), users)
    parts = [index.of_users(torch.arange(a, b)) for a, b in pairwise(cuts)]
    return Problem(*parts, pair.reshape(-1, 3), torch.arange(cuts[2], users) % 2)


def batch_of(index: ChoiceIndex, vectors: Tensor) -> ChoiceBatch:
    """All choices of users who have equally many."""
    shape = (index.n_users, len(index) // index.n_users, index.items.shape[1])
    rank = index.rank.reshape(shape)
    return ChoiceBatch(vectors[index.items.reshape(shape)], rank, index.weight.reshape(shape[:2]))


def accuracy(model: PreferenceModel[Any], problem: Problem, k: int, targets: int = 12) -> float:
    """Share of the last choices of each test user that the model gets right after the first k."""
    batch = batch_of(problem.test, problem.vectors)
    unseen = batch.vectors[:, -targets:]
    p = model.prefer(model.infer(batch.first(k)), unseen[:, :, 0], unseen[:, :, 1])
    return (p > model.prefer(model.infer(batch.first(k)), unseen[:, :, 1], unseen[:, :, 0])).float().mean().item()
