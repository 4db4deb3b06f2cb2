"""From token states to one vector per row, by the attention mask alone (so padding may stand on either side)."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

__all__ = ["POOLING", "Pooling", "first_pool", "last_pool", "mean_pool"]

Pooling = Literal["mean", "last", "first"]


def mean_pool(states: Tensor, mask: Tensor) -> Tensor:
    """Mean over real tokens: Float[rows dim] from states Float[rows tokens dim], mask Int[rows tokens] (1 = real)."""
    weight = mask.unsqueeze(-1).to(states.dtype)
    return (states * weight).sum(1) / weight.sum(1).clamp(min=1)


def last_pool(states: Tensor, mask: Tensor) -> Tensor:
    """State of the last real token, the one that has seen all others in a causal model; shapes as `mean_pool`."""
    position = torch.arange(mask.shape[1], device=mask.device)
    return _at(states, (mask * position).argmax(1))


def first_pool(states: Tensor, mask: Tensor) -> Tensor:
    """State of the first real token (`[CLS]` in BERT's family); shapes as `mean_pool`."""
    return _at(states, mask.argmax(1))


def _at(states: Tensor, position: Tensor) -> Tensor:
    return states[torch.arange(len(states), device=states.device), position]


POOLING: dict[Pooling, Callable[[Tensor, Tensor], Tensor]] = {
    "mean": mean_pool,
    "last": last_pool,
    "first": first_pool,
}
