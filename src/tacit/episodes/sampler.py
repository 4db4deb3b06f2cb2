"""Training episodes: context and target choices of a batch of users, disjoint by group, as tensor operations on ids."""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from tacit.choices.index import ChoiceIndex
from tacit.episodes.episode import Episode
from tacit.episodes.hashing import hash_unit, step_generator

__all__ = ["EpisodeSampler"]


@dataclass(frozen=True)
class EpisodeSampler:
    """Draws fresh episodes from a `ChoiceIndex` over item vectors.

    For each user of a batch, anew every time: groups fall on the context or the target side by a coin each; choices
    that cross are dropped; k is uniform on {0..max_context}; k context choices and `targets` target choices are drawn
    without replacement. Users with fewer choices bring what they have (weight 0 pads the rest).

    Attributes:
        index: the choices to draw from.
        vectors: Float[items dim], on the device the batches should be on.
        max_context: K, the largest k drawn.
        targets: target choices per user.
        window: choices of one user considered per episode (a random circular run of a fixed shuffle).
        target_groups: Bool[groups], to divide groups by hand instead of by coins: True = target side.
        in_time: cut every user's choices at the moment of a random one of them, contexts before it and targets after,
            as in use; choices without a time are left out, and episodes carry times.
    """

    index: ChoiceIndex
    vectors: Tensor
    max_context: int
    targets: int
    seed: int
    window: int = 0
    target_groups: Tensor | None = None
    in_time: bool = False
    _rows: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        order = torch.argsort(torch.rand(len(self.index), generator=step_generator(self.seed, 1)))
        order = order[torch.argsort(self.index.user[order], stable=True)]
        object.__setattr__(self, "_rows", order)
        auto = 8 * (self.max_context + self.targets)
        largest = int(self.index.counts.max()) if len(self.index) else 0
        object.__setattr__(self, "window", min(largest, self.window or auto))

    def to(self, device: str) -> "EpisodeSampler":
        """The same episodes with their vectors on another device (ids stay on the CPU, where drawing them is cheap)."""
        return self if torch.device(device) == self.vectors.device else replace(self, vectors=self.vectors.to(device))

    @property
    def n_users(self) -> int:
        """Users to draw from."""
        return self.index.n_users

    def users_of_step(self, step: int, batch: int) -> Tensor:
        """Int64[batch]: users pass in a fresh shuffle each epoch; the last batch of an epoch wraps into the next."""
        n = self.n_users
        batch = min(batch, n)
        first = step * batch
        epochs = range(first // n, (first + batch - 1) // n + 1)
        shuffles = [torch.randperm(n, generator=step_generator(self.seed, 2, epoch)) for epoch in epochs]
        start = first - epochs[0] * n
        return torch.cat(shuffles)[start : start + batch]

    def sample(self, users: Tensor, step: int) -> Episode:
        """The episode of `users` (Int64[users]) at a step; fixed by (seed, step, users)."""
        generator = step_generator(self.seed, 3, step)
        index = self.index
        count = index.counts[users].unsqueeze(1)
        slot = torch.arange(self.window)
        start = (torch.rand(len(users), 1, generator=generator, dtype=torch.float64) * count).long()
        rows = self._rows[
            (index.offsets[users].unsqueeze(1) + (start + slot) % count.clamp(min=1)).clamp(max=len(index) - 1)
        ]
        present = slot < count

        if self.target_groups is None:
            salt = torch.randint(1 << 62, (len(users), 1, 1), generator=generator)
            on_context = hash_unit(index.group[rows], salt) < 0.5
        else:
            on_context = ~self.target_groups[index.group[rows]]
        whole = on_context.all(-1), (~on_context).all(-1)
        order = torch.rand(rows.shape, generator=generator)
        if self.in_time:
            moment = (torch.rand(len(users), 1, generator=generator) * count.clamp(max=self.window)).long()
            time = index.timestamp[rows]
            cut = time.gather(1, moment)
            whole = whole[0] & (time <= cut), whole[1] & (time >= cut)
        context = _draw(order, whole[0] & present, self.max_context)
        target = _draw(order, whole[1] & present, self.targets)
        k = torch.randint(self.max_context + 1, (len(users), 1), generator=generator)
        context = (context[0], context[1] & (torch.arange(context[0].shape[1]) < k))

        picked = torch.cat([context[0], target[0]], dim=1)
        real = torch.cat([context[1], target[1]], dim=1)
        chosen = rows.gather(1, picked)
        device = self.vectors.device
        items, position = index.items[chosen].unique(return_inverse=True)
        return Episode(
            self.vectors[items.to(device)],
            position.to(device),
            index.rank[chosen].to(device),
            (index.weight[chosen] * real).to(device),
            split=context[0].shape[1],
            timestamp=index.timestamp[chosen].to(device) if self.in_time else None,
            users=users.to(device),
        )


def _draw(order: Tensor, eligible: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Positions Int64[users count] of a random choice among the eligible, and which of them are real."""
    priority = torch.where(eligible, order, torch.full_like(order, 2.0))
    value, position = priority.topk(min(count, order.shape[1]), dim=1, largest=False, sorted=True)
    return position, value < 2.0
