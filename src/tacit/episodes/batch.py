"""A padded batch of choices as vectors: the one input of encoders and preference models."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from tacit.errors import ChoiceError, StateMismatchError

__all__ = ["ChoiceBatch"]


@dataclass(frozen=True)
class ChoiceBatch:
    """Some choices of some users, as item vectors.

    Shapes:
        vectors: Float[users choices slots dim], best first; anything finite in padding.
        rank: Int64[users choices slots], 0 = best, equal = tie, -1 = padding slot.
        weight: Float[users choices], 0 = padding choice.
        timestamp: Float64[users choices] seconds, NaN where unknown; None when nobody has one.
        keys: per user, the stable key of each real choice; None where choices have no texts.
    """

    vectors: Tensor
    rank: Tensor
    weight: Tensor
    timestamp: Tensor | None = None
    keys: tuple[tuple[str, ...], ...] | None = None

    def __post_init__(self) -> None:
        if (
            self.vectors.ndim != 4
            or self.rank.shape != self.vectors.shape[:3]
            or self.weight.shape != self.rank.shape[:2]
        ):
            raise ChoiceError(
                "expected vectors [users choices slots dim], rank [users choices slots], weight [users choices]; found "
                f"{tuple(self.vectors.shape)}, {tuple(self.rank.shape)}, {tuple(self.weight.shape)}"
            )

    @classmethod
    def pairs(cls, chosen: Tensor, rejected: Tensor) -> "ChoiceBatch":
        """Plain pairs from two tensors Float[users choices dim]."""
        vectors = torch.stack([chosen, rejected], dim=2)
        rank = torch.tensor([0, 1], device=vectors.device).expand(*vectors.shape[:2], 2)
        return cls(vectors, rank, vectors.new_ones(vectors.shape[:2]))

    @classmethod
    def empty(cls, users: int, dim: int) -> "ChoiceBatch":
        """No choices at all: what a new user brings."""
        return cls(torch.zeros(users, 0, 2, dim), torch.zeros(users, 0, 2, dtype=torch.int64), torch.zeros(users, 0))

    @property
    def n_users(self) -> int:
        """Users in the batch."""
        return self.vectors.shape[0]

    @property
    def n_choices(self) -> int:
        """Choice positions per user, padding included."""
        return self.vectors.shape[1]

    def first(self, k: int) -> "ChoiceBatch":
        """The first `k` choice positions of every user: nested contexts."""
        keys = None if self.keys is None else tuple(ks[:k] for ks in self.keys)
        time = None if self.timestamp is None else self.timestamp[:, :k]
        return ChoiceBatch(self.vectors[:, :k], self.rank[:, :k], self.weight[:, :k], time, keys)

    def of_users(self, users: Tensor) -> "ChoiceBatch":
        """The rows of `users` (Int64[chosen]), in that order."""
        keys = None if self.keys is None else tuple(self.keys[u] for u in users.tolist())
        time = None if self.timestamp is None else self.timestamp[users]
        return ChoiceBatch(self.vectors[users], self.rank[users], self.weight[users], time, keys)

    def to(self, device: torch.device | str) -> "ChoiceBatch":
        """The same choices on another device."""
        time = None if self.timestamp is None else self.timestamp.to(device)
        return replace(
            self,
            vectors=self.vectors.to(device),
            rank=self.rank.to(device),
            weight=self.weight.to(device),
            timestamp=time,
        )

    def join(self, more: "ChoiceBatch") -> "ChoiceBatch":
        """The choices of both batches, of the same users; times and keys are not kept."""
        slots = max(self.vectors.shape[2], more.vectors.shape[2])
        a, b = self._widened(slots), more._widened(slots)
        return ChoiceBatch(
            torch.cat([a.vectors, b.vectors], 1), torch.cat([a.rank, b.rank], 1), torch.cat([a.weight, b.weight], 1)
        )

    def without(self, gone: "ChoiceBatch") -> "ChoiceBatch":
        """These choices with one equal choice struck out (weight 0) for each real choice of `gone`.

        Raises:
            StateMismatchError: a choice of `gone` is not here.
        """
        slots = max(self.vectors.shape[2], gone.vectors.shape[2])
        kept, gone = self._widened(slots), gone._widened(slots)
        weight = kept.weight.clone()
        for user, choice in (gone.weight > 0).nonzero().tolist():
            real = (gone.rank[user, choice] >= 0).unsqueeze(-1)
            same = (kept.rank[user] == gone.rank[user, choice]).all(-1)
            same &= ((kept.vectors[user] == gone.vectors[user, choice]) | ~real).all(-1).all(-1)
            same &= weight[user] > 0
            if not bool(same.any()):
                raise StateMismatchError(
                    "a choice to forget is not in this state; forget only choices it was made from"
                )
            weight[user, same.nonzero()[0, 0]] = 0
        return ChoiceBatch(kept.vectors, kept.rank, weight)

    def _widened(self, slots: int) -> "ChoiceBatch":
        extra = slots - self.vectors.shape[2]
        return ChoiceBatch(pad(self.vectors, (0, 0, 0, extra)), pad(self.rank, (0, extra), value=-1), self.weight)

    def with_vectors(self, vectors: Tensor) -> "ChoiceBatch":
        """The same choices over transformed item vectors."""
        return replace(self, vectors=vectors)
