"""Metrics of predicted choices: per user first, then over users.

Every function takes `chosen`, the probability a model gave to what the user in fact chose (never to "the first item",
so there is no pair order left to exploit), and `real`, which masks padding. A user with 5 targets and one with 50 count
the same: accuracy, NLL and Brier are averaged over a user's targets, then over users; the calibration error, which
means nothing on one user's handful of answers, pools all pairs with weight 1 / (targets of the user).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = [
    "HIGHER_IS_BETTER",
    "PER_USER",
    "Calibration",
    "accuracy",
    "brier",
    "calibration",
    "mean_over_users",
    "nll",
    "worst_decile",
]

BINS = 15
_FLOOR = 1e-7  # a certain and wrong answer costs 16.1 nats, not infinity
_GRID = 2.0**20  # p and 1 - (1 - p) differ by float32 rounding, which must not decide an answer or a bin


def accuracy(chosen: Tensor, real: Tensor) -> Tensor:
    """Share of right answers, Float64[... users] of Float[... users targets]; 0.5 (to 1e-6) earns half."""
    return _user_mean(_credit(chosen), chosen, real)


def nll(chosen: Tensor, real: Tensor) -> Tensor:
    """Mean negative log-likelihood in nats, Float64[... users]; probabilities are floored at 1e-7."""
    return _user_mean(-chosen.double().clamp(min=_FLOOR).log(), chosen, real)


def brier(chosen: Tensor, real: Tensor) -> Tensor:
    """Mean squared error of the probability (Brier, 1950; one class counted, 0.25 for a coin), Float64[... users]."""
    return _user_mean((1 - chosen.double()).square(), chosen, real)


PER_USER: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"accuracy": accuracy, "nll": nll, "brier": brier}
HIGHER_IS_BETTER = {"accuracy": True, "nll": False, "brier": False}


def mean_over_users(values: Tensor) -> Tensor:
    """Mean over the last axis, Float64[...]; NaN marks a user who does not count."""
    return values.double().nanmean(dim=-1)


def worst_decile(values: Tensor) -> Tensor:
    """Mean of the lowest tenth of users (rounded up), Float64[...] of Float[... users]; NaN users do not count.

    With few targets per user this falls below the true worst tenth by sampling noise alone: compare it between methods
    on the same targets, not with the mean.
    """
    ordered = values.double().sort(dim=-1).values  # NaN sorts last
    count = (~ordered.isnan()).sum(-1, keepdim=True)
    tenth = ((count + 9) // 10).clamp(min=1)
    picked = torch.arange(ordered.shape[-1]) < tenth
    return torch.where(picked, ordered, 0.0).sum(-1) / tenth.squeeze(-1)


@dataclass(frozen=True)
class Calibration:
    """A reliability diagram over equal-mass bins of confidence, max(p, 1 - p).

    Shapes:
        confidence, accuracy, mass: Float64[bins], weighted means and the share of the weight; empty bins hold 0.
        gaps: Float64[users bins], each user's weighted sum of confidence - accuracy: what a bootstrap resamples.
    """

    confidence: Tensor
    accuracy: Tensor
    mass: Tensor
    gaps: Tensor

    @property
    def ece(self) -> float:
        """Expected calibration error (Naeini et al., 2015), sum over bins of mass * |confidence - accuracy|."""
        return float((self.mass * (self.confidence - self.accuracy).abs()).sum())


def calibration(chosen: Tensor, real: Tensor, bins: int = BINS) -> Calibration:
    """Bin Float[users targets] by confidence so that every bin carries the same weight.

    Each user weighs the same. Equal confidences (to 1e-6) share a bin, so the result does not depend on the order of
    users or pairs; a model with few distinct probabilities has fewer, unequal bins. NaN marks a user who does not
    count.
    """
    real = real & ~chosen.isnan()
    users, targets = real.nonzero().unbind(1)
    p = chosen[users, targets].double()
    confidence, right = torch.maximum(p, 1 - p), _credit(p)
    n_users = int(real.any(1).sum())
    weight = 1.0 / (real.sum(1)[users].double() * max(1, n_users))

    level, of_level = _rounded(confidence).unique(return_inverse=True)
    mass = torch.zeros(len(level), dtype=torch.float64).index_add_(0, of_level, weight)
    middle = mass.cumsum(0) - mass / 2
    which = (middle * bins + 1e-9).long().clamp(0, bins - 1)[of_level]  # a sum that depends on its order may not decide

    def total(values: Tensor) -> Tensor:
        return torch.zeros(bins, dtype=torch.float64).index_add_(0, which, weight * values)

    share = total(torch.ones_like(p))
    divisor = share.clamp(min=1e-300)
    gaps = torch.zeros(len(chosen) * bins, dtype=torch.float64)
    gaps.index_add_(0, users * bins + which, weight * n_users * (confidence - right))
    return Calibration(total(confidence) / divisor, total(right) / divisor, share, gaps.view(len(chosen), bins))


def _credit(chosen: Tensor) -> Tensor:
    p = _rounded(chosen)
    return (p > 0.5).double() + 0.5 * (p == 0.5).double()


def _rounded(p: Tensor) -> Tensor:
    return (p.double() * _GRID).round() / _GRID


def _user_mean(values: Tensor, chosen: Tensor, real: Tensor) -> Tensor:
    """Mean over real targets; NaN where a probability is missing or there is no target."""
    values = torch.where(chosen.isnan(), torch.nan, values)
    return torch.where(real, values, 0.0).sum(-1) / real.sum(-1)
