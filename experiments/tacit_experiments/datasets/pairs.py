"""Indexes and masks of simulated and tabulated choices."""

import torch
from torch import Tensor

from tacit.choices import ChoiceIndex

__all__ = ["group_mask", "pair_index"]


def pair_index(pairs: Tensor, group: Tensor, timestamp: Tensor | None = None) -> ChoiceIndex:
    """An index of equally many pairs per user.

    Shapes:
        pairs: Int64[users choices 2], item ids, the chosen one first.
        group: Int64[items], the group of every item.
        timestamp: Float64[users choices] seconds, or None.
    """
    users, choices, _ = pairs.shape
    items = pairs.reshape(-1, 2)
    return ChoiceIndex.build(
        torch.arange(users).repeat_interleave(choices),
        items,
        torch.tensor([0, 1]).expand_as(items),
        group[items],
        n_users=users,
        timestamp=None if timestamp is None else timestamp.reshape(-1),
    )


def group_mask(groups: Tensor, count: int) -> Tensor:
    """Bool[count], True at `groups` (Int64[chosen])."""
    mask = torch.zeros(count, dtype=torch.bool)
    mask[groups] = True
    return mask
