"""What one training step sees of a batch of users."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from tacit.episodes.batch import ChoiceBatch

__all__ = ["Episode"]


@dataclass(frozen=True)
class Episode:
    """Context and target choices of a batch of users; no group stands on both sides of a user.

    People choose between the same items, so an episode names each item once and the batches say where it stands: a
    network that looks at items one by one is applied with `through`, to a few hundred rows instead of thousands.

    Shapes:
        items: Float[distinct dim], the items of both sides.
        position: Int64[users choices slots], rows of `items`; the first `split` choices are the context.
        rank: Int64[users choices slots], as in `ChoiceBatch`.
        weight: Float[users choices], 0 = padding choice.
        timestamp: Float64[users choices] seconds, NaN where unknown, or None.
        users: Int64[users], their numbers in the sampler's index: for models that keep a row per training user.
    """

    items: Tensor
    position: Tensor
    rank: Tensor
    weight: Tensor
    split: int
    timestamp: Tensor | None = None
    users: Tensor | None = None

    @classmethod
    def of(cls, context: ChoiceBatch, target: ChoiceBatch, users: Tensor | None = None) -> "Episode":
        """The episode of two batches with as many slots, every item a row of its own."""
        vectors = torch.cat([context.vectors, target.vectors], dim=1)
        items = vectors.flatten(0, 2)
        times = [side.timestamp for side in (context, target) if side.timestamp is not None]
        return cls(
            items,
            torch.arange(len(items), device=items.device).reshape(vectors.shape[:3]),
            torch.cat([context.rank, target.rank], dim=1),
            torch.cat([context.weight, target.weight], dim=1),
            context.n_choices,
            torch.cat(times, dim=1) if len(times) == 2 else None,
            users,
        )

    @cached_property
    def context(self) -> ChoiceBatch:
        """The choices that a model may see."""
        return self._side(slice(None, self.split))

    @cached_property
    def target(self) -> ChoiceBatch:
        """The choices that it should predict."""
        return self._side(slice(self.split, None))

    def through(self, network: Callable[[Tensor], Tensor]) -> "Episode":
        """The same choices over what `network` makes of the items, Float[distinct features]; each item passes once."""
        return replace(self, items=network(self.items))

    def aged(self, half_life: float | None) -> "Episode":
        """Contexts weigh what a user state would give them at the user's latest choice: 2^-(age / half_life)."""
        if half_life is None or self.timestamp is None or not self.split:
            return self
        time, weight = self.timestamp[:, : self.split], self.weight.clone()
        real = weight[:, : self.split] > 0
        latest = time.masked_fill(~real, -torch.inf).amax(1, keepdim=True)
        age = (latest - time).masked_fill(~real, 0.0)
        weight[:, : self.split] *= torch.exp2(-age / half_life).to(weight.dtype)
        return replace(self, weight=weight)

    def to(self, device: torch.device | str) -> "Episode":
        """The same episode on another device."""
        tensors = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return Episode(**tensors, split=self.split)

    def _side(self, choices: slice) -> ChoiceBatch:
        time = None if self.timestamp is None else self.timestamp[:, choices]
        position = self.position[:, choices]
        vectors = self.items.index_select(0, position.flatten()).unflatten(0, position.shape)
        return ChoiceBatch(vectors, self.rank[:, choices], self.weight[:, choices], time)
