"""Choices as integers: what episodes, training and evaluation work on."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tacit.errors import ChoiceError

__all__ = ["ChoiceIndex"]


@dataclass(frozen=True)
class ChoiceIndex:
    """Choices of many users over shared items, addressed by integer ids, sorted by user.

    Shapes:
        user: Int64[choices], non-decreasing, in `0 .. n_users - 1`.
        items: Int64[choices slots], item ids, best first; padding slots hold 0.
        rank: Int64[choices slots], 0 = best, equal = tie, -1 = padding slot.
        weight: Float32[choices].
        timestamp: Float64[choices] seconds, NaN where unknown.
        group: Int64[choices slots], the unit that is never on both sides of an episode: the prompt, or
            the item where all choices of the user share one prompt. Padding slots repeat slot 0.
        row: Int64[choices], where each choice stood in its table (before sorting by user).
        offsets: Int64[users + 1], choices of user `u` are `offsets[u] : offsets[u + 1]`.
    """

    user: Tensor
    items: Tensor
    rank: Tensor
    weight: Tensor
    timestamp: Tensor
    group: Tensor
    row: Tensor
    offsets: Tensor

    @classmethod
    def build(
        cls,
        user: Tensor,
        items: Tensor,
        rank: Tensor,
        group: Tensor,
        *,
        n_users: int,
        weight: Tensor | None = None,
        timestamp: Tensor | None = None,
    ) -> "ChoiceIndex":
        """Sort rows by user (stably) and add what is missing: unit weights, unknown times."""
        n = len(user)
        if not items.shape == rank.shape == group.shape or items.shape[0] != n:
            raise ChoiceError(
                f"items {tuple(items.shape)}, rank {tuple(rank.shape)} and group {tuple(group.shape)} "
                f"must each be [{n} choices, slots]"
            )
        row = torch.argsort(user, stable=True)
        if weight is None:
            weight = torch.ones(n)
        if timestamp is None:
            timestamp = torch.full((n,), float("nan"), dtype=torch.float64)
        counts = torch.bincount(user, minlength=n_users)
        offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        return cls(user[row], items[row], rank[row], weight[row], timestamp[row], group[row], row, offsets)

    def __len__(self) -> int:
        return len(self.user)

    @property
    def n_users(self) -> int:
        """Number of users, those without a choice included."""
        return len(self.offsets) - 1

    @property
    def counts(self) -> Tensor:
        """Int64[users]: choices per user."""
        return self.offsets.diff()

    def occurring(self, items: int) -> Tensor:
        """Bool[items]: those of so many that are an answer in some choice."""
        used = torch.zeros(items, dtype=torch.bool)
        used[self.items[self.rank >= 0]] = True
        return used

    def select(self, mask: Tensor) -> "ChoiceIndex":
        """The choices where `mask` (Bool[choices]) holds; users keep their numbers."""
        counts = torch.bincount(self.user[mask], minlength=self.n_users)
        offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        return ChoiceIndex(
            self.user[mask], self.items[mask], self.rank[mask], self.weight[mask], self.timestamp[mask],
            self.group[mask], self.row[mask], offsets,
        )  # fmt: skip

    def of_users(self, users: Tensor) -> "ChoiceIndex":
        """The choices of `users` (Int64[chosen]) only, renumbered 0 .. in the given order."""
        number = torch.full((self.n_users,), -1, dtype=torch.int64)
        number[users] = torch.arange(len(users))
        mask = number[self.user] >= 0
        kept = self.select(mask)
        order = torch.argsort(number[kept.user], stable=True)
        counts = torch.bincount(number[kept.user], minlength=len(users))
        offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        return ChoiceIndex(
            number[kept.user][order], kept.items[order], kept.rank[order], kept.weight[order],
            kept.timestamp[order], kept.group[order], kept.row[order], offsets,
        )  # fmt: skip
