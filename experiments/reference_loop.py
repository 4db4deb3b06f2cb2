"""The usual way to train a few-shot reward model, written from its description as a fair opponent.

A pandas frame of choices and one of item vectors, looked up episode by episode in a `Dataset`; a `DataLoader` with one
worker that draws one k per batch; 256-wide ReLU MLPs; the choices of a context summed; a reward head with BatchNorm;
Adam. Nothing is slowed down: look-ups go through sorted indices, the worker lives on over epochs and works ahead while
the main process trains, context and targets are disjoint, and z is deterministic (no samples, no KL to pay for).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid
from torch.utils.data import DataLoader, Dataset

from tacit.choices.index import ChoiceIndex
from tacit.episodes.batch import ChoiceBatch
from tacit.episodes.episode import Episode

__all__ = ["UsualEpisodes", "UsualNetwork", "as_episode", "batches", "frames"]

Batch = dict[str, Tensor]
"""`context` Float[users k 2 dim] and `target` Float[users targets 2 dim], winner first."""


def frames(index: ChoiceIndex, vectors: Tensor) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Choices by user, and item vectors by item: the tables that the usual code reads from disk."""
    choices = pd.DataFrame({"chosen": index.items[:, 0].numpy(), "rejected": index.items[:, 1].numpy()})
    choices.index = pd.Index(index.user.numpy(), name="user")
    return choices.sort_index(), pd.DataFrame(vectors.numpy())


class UsualEpisodes(Dataset):
    """Item i is an episode of user i: `max_context + targets` of its choices, in random order, as vectors."""

    def __init__(self, index: ChoiceIndex, vectors: Tensor, *, max_context: int, targets: int) -> None:
        self.choices, self.items = frames(index, vectors)
        self.users = self.choices.index.unique()
        self.size = max_context + targets

    def __len__(self) -> int:
        return len(self.users)

    def __getitem__(self, i: int) -> np.ndarray:
        rows = self.choices.loc[self.users[i]]
        rows = rows.iloc[torch.randperm(len(rows))[: self.size].numpy()]
        chosen = self.items.loc[rows["chosen"]].to_numpy()
        rejected = self.items.loc[rows["rejected"]].to_numpy()
        return np.stack([chosen, rejected], axis=1)  # [choices 2 dim]


class _OneContextSize:
    """Collate: one k for the whole batch, the rest of the first rows thrown away."""

    def __init__(self, max_context: int) -> None:
        self.max_context = max_context

    def __call__(self, episodes: list[np.ndarray]) -> Batch:
        both = torch.from_numpy(np.stack(episodes)).float()
        k = int(torch.randint(self.max_context + 1, ()))
        return {"context": both[:, :k], "target": both[:, self.max_context :]}


def batches(episodes: UsualEpisodes, *, users: int, max_context: int, seed: int, workers: int = 1) -> Iterator[Batch]:
    """Batches without end, epoch after epoch."""
    loader = DataLoader(
        episodes, batch_size=users, shuffle=True, drop_last=True, num_workers=workers,
        collate_fn=_OneContextSize(max_context), persistent_workers=workers > 0,
        generator=torch.Generator().manual_seed(seed),
    )  # fmt: skip
    while True:
        yield from loader


def as_episode(batch: Batch) -> Episode:
    """The same batch as tacit's networks take it."""
    return Episode.of(
        *(ChoiceBatch.pairs(side[:, :, 0], side[:, :, 1]) for side in (batch["context"], batch["target"]))
    )


class UsualNetwork(nn.Module):
    """Sum of per-choice codes -> z; an MLP with BatchNorm on [item; z]. All layers 256 wide."""

    def __init__(self, dim: int, *, width: int = 256, latent: int = 64) -> None:
        super().__init__()
        self.choice = nn.Sequential(
            nn.Linear(2 * dim, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)
        )
        self.user = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, latent))
        self.reward = nn.Sequential(
            nn.Linear(dim + latent, width), nn.BatchNorm1d(width), nn.ReLU(),
            nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(),
            nn.Linear(width, 1),
        )  # fmt: skip

    def forward(self, context: ChoiceBatch, target: ChoiceBatch) -> Tensor:
        """Reward of the winner minus that of the loser: Float[users targets]."""
        codes = self.choice(context.vectors.flatten(2)) * context.weight.unsqueeze(-1)
        z = self.user(codes.sum(1))
        users, count, _, dim = target.vectors.shape
        items = target.vectors.reshape(users, 2 * count, dim)
        both = torch.cat([items, z.unsqueeze(1).expand(-1, 2 * count, -1)], dim=-1)
        return -self.reward(both.flatten(0, 1)).reshape(users, count, 2).diff(dim=-1).squeeze(-1)

    def loss(self, episode: Episode, *_: Any) -> Tensor:
        """Mean negative log-likelihood over targets."""
        return -logsigmoid(self(episode.context, episode.target)).mean()
