"""Users planted in a model of rank 3: everybody's reward is a mixture of the same three linear rewards."""

import torch
from torch import Tensor

from tacit.choices import ChoiceIndex
from tacit.episodes import ChoiceBatch
from tacit.episodes.hashing import step_generator

DIM, CHOICES = 6, 40
ITEMS = 0.5 + 2 * torch.randn(200, DIM, generator=step_generator(0, 1))
BASIS = 3 * torch.randn(3, DIM, generator=step_generator(0, 2))


def planted(users: int, seed: int) -> tuple[ChoiceIndex, Tensor]:
    """Choices (40 each, by Bradley-Terry-Luce) of new users, and their true rewards Float[users items]."""
    generator = step_generator(seed, 3)
    mixture = (2 * torch.randn(users, 3, generator=generator)).softmax(-1)
    reward = mixture @ BASIS @ ITEMS.mT
    first = torch.randint(len(ITEMS), (users, CHOICES), generator=generator)
    second = (first + torch.randint(1, len(ITEMS), (users, CHOICES), generator=generator)) % len(ITEMS)
    p = (reward.gather(1, first) - reward.gather(1, second)).sigmoid()
    wins = torch.rand(users, CHOICES, generator=generator) < p
    items = torch.stack([torch.where(wins, first, second), torch.where(wins, second, first)], -1).reshape(-1, 2)
    user = torch.arange(users).repeat_interleave(CHOICES)
    return ChoiceIndex.build(user, items, torch.tensor([0, 1]).expand_as(items), items, n_users=users), reward


def contexts(index: ChoiceIndex, k: int) -> ChoiceBatch:
    """The first k choices of every user."""
    items = index.items.reshape(index.n_users, CHOICES, 2)[:, :k]
    return ChoiceBatch(ITEMS[items], torch.tensor([0, 1]).expand_as(items), torch.ones(items.shape[:2]))


def correlation(scores: Tensor, truth: Tensor) -> Tensor:
    """Pearson's correlation over items, per user: Float[users]."""
    a, b = (x - x.mean(-1, keepdim=True) for x in (scores, truth))
    return (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1))
