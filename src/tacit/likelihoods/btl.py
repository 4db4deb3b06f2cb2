"""Bradley-Terry-Luce: a user compares two items and prefers one.

    P(a over b) = sigmoid(a - b)

Scores are rewards in nats: one unit of difference multiplies the odds by e.
Source: Bradley and Terry (1952), "Rank analysis of incomplete block designs", Biometrika 39.
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

__all__ = ["log_prob", "sample"]


def log_prob(chosen: Tensor, rejected: Tensor) -> Tensor:
    """Log-probability that `chosen` beat `rejected`: Float[...] from two broadcastable Float[...] of scores."""
    return logsigmoid(chosen - rejected)


def sample(a: Tensor, b: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw outcomes: Bool[...], True where `a` beat `b`, for two broadcastable Float[...] of scores."""
    win = torch.sigmoid(a - b)
    return torch.rand(win.shape, generator=generator, dtype=win.dtype, device=win.device) < win
