"""User-level bootstrap intervals: a user is resampled with all targets, because the answers of one user go together.

Percentile intervals (Efron and Tibshirani, 1993, chapter 13) over resamples that are fixed by a seed. Rows given in one
call share their resamples. `scipy.stats.bootstrap` gives the same for users who all count, in 20 to 40 times the time,
and no interval where a resample can miss everybody who does; tests compare with it. Methods are compared by the PAIRED
difference per user, never by whether two intervals overlap.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from tacit.episodes import step_generator

__all__ = ["calibration_intervals", "mean_intervals"]

RESAMPLES = 1000
LEVEL = 0.95
_CELLS = 1 << 22  # resamples x users held at once (32 MB)


def mean_intervals(values: Tensor, *, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0) -> Tensor:
    """Intervals of means over users, Float64[rows 2] of Float[rows users]; NaN marks a user who does not count."""
    counted = ~values.isnan()
    columns = torch.cat([values.double().nan_to_num(0.0), counted.double()]).T
    total, count = _resampled_sums(columns, resamples, seed).chunk(2, dim=1)
    return _percentiles(total / count, level)


def calibration_intervals(
    gaps: Tensor, counted: Tensor, *, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0
) -> Tensor:
    """Intervals of the calibration error, Float64[rows 2], from `Calibration.gaps` with its bins held fixed.

    `gaps` is Float64[rows users bins]; `counted`, Bool[rows users], tells which users count in a row. The absolute
    value turns noise into error, so resamples lie above the estimate; they are shifted to have their median at the
    estimate, and cut at 0. The width is what the interval tells.
    """
    rows, users, bins = gaps.shape
    columns = torch.cat([gaps.transpose(1, 2).reshape(rows * bins, users), counted.double()]).T
    sums = _resampled_sums(columns, resamples, seed)
    draws = sums[:, : rows * bins].view(-1, rows, bins).abs().sum(2) / sums[:, rows * bins :]
    estimate = gaps.sum(1).abs().sum(1) / counted.sum(1)
    shifted = draws - draws.nanmedian(dim=0).values + estimate
    return _percentiles(shifted, level).clamp(min=0.0)


def _resampled_sums(columns: Tensor, resamples: int, seed: int) -> Tensor:
    """Float64[resamples columns]: column sums of Float64[users columns] over users drawn with replacement."""
    return torch.cat([weight @ columns for weight in _draws(len(columns), resamples, seed)])


def _draws(users: int, resamples: int, seed: int) -> Iterator[Tensor]:
    """How often each user is drawn, Float64[some resamples, users] at a time."""
    generator = step_generator(seed, 201)
    some = max(1, _CELLS // max(1, users))
    for start in range(0, resamples, some):
        shape = (min(some, resamples - start), users)
        drawn = torch.randint(users, shape, generator=generator)
        yield torch.zeros(shape, dtype=torch.float64).scatter_add_(1, drawn, torch.ones(shape, dtype=torch.float64))


def _percentiles(draws: Tensor, level: float) -> Tensor:
    """Float64[columns 2]; a resample without any user who counts is NaN and left out."""
    tails = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    return draws.nanquantile(tails, dim=0).T
