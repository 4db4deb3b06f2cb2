"""Intervals: coverage, pairing, missing users, seeds."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from torch.testing import assert_close

from tacit.evaluation import calibration, calibration_intervals, mean_intervals


def test_coverage_of_the_mean_is_near_95_percent() -> None:
    # 300 experiments with 60 users each of a skewed quantity with mean 1, as rows of one call.
    g = torch.Generator().manual_seed(0)
    values = torch.empty(300, 60, dtype=torch.float64).exponential_(generator=g)
    bounds = mean_intervals(values, resamples=400)
    covered = ((bounds[:, 0] <= 1) & (bounds[:, 1] >= 1)).double().mean()
    assert 0.88 <= covered <= 0.98


def test_width_agrees_with_the_normal_theory() -> None:
    values = torch.randn(1, 400, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    low, high = mean_intervals(values, resamples=4000)[0].tolist()
    expected = 2 * 1.96 * float(values.std()) / math.sqrt(400)
    assert high - low == pytest.approx(expected, rel=0.06)
    assert low < float(values.mean()) < high


def test_paired_is_narrower_than_unpaired_when_users_differ_more_than_methods() -> None:
    g = torch.Generator().manual_seed(2)
    user = torch.randn(1, 200, generator=g)
    ours, theirs = (user + shift + 0.1 * torch.randn(1, 200, generator=g) for shift in (0.05, 0.0))
    paired = mean_intervals(ours - theirs)[0]
    apart = [mean_intervals(values)[0] for values in (ours, theirs)]
    assert paired.diff() < 0.2 * min(bounds.diff() for bounds in apart)
    assert paired[0] > 0
    assert apart[0][0] < apart[1][1]  # the unpaired intervals overlap


def test_users_who_do_not_count_are_left_out() -> None:
    values = torch.full((2, 50), math.nan)
    values[0, :30] = torch.randn(30, generator=torch.Generator().manual_seed(3))
    bounds = mean_intervals(values)
    assert bounds[0, 0] < values[0].nanmean() < bounds[0, 1]
    assert bounds[1].isnan().all()


def test_the_seed_decides_and_rows_share_resamples() -> None:
    values = torch.randn(1, 80, generator=torch.Generator().manual_seed(4))
    a, b, c = (mean_intervals(values, seed=s) for s in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    both = mean_intervals(torch.cat([values, values + 1]))
    assert torch.allclose(both[0] + 1, both[1])


def test_many_users_are_resampled_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    import tacit.evaluation.bootstrap as module

    values = torch.randn(2, 500, generator=torch.Generator().manual_seed(5))
    monkeypatch.setattr(module, "_CELLS", 7 * 500)  # 1000 resamples in pieces of 7
    bounds = mean_intervals(values)
    assert bounds.diff().squeeze().tolist() == pytest.approx([2 * 1.96 / math.sqrt(500)] * 2, rel=0.15)


def test_interval_of_the_calibration_error_holds_the_estimate() -> None:
    g = torch.Generator().manual_seed(6)
    p = 0.5 + 0.5 * torch.rand(200, 10, generator=g)
    right = torch.rand(p.shape, generator=g) < p - 0.1 * (p - 0.5)
    found = calibration(torch.where(right, p, 1 - p), torch.ones(p.shape, dtype=torch.bool))
    counted = torch.ones(1, 200, dtype=torch.bool)
    low, high = calibration_intervals(found.gaps[None], counted)[0].tolist()
    assert 0 <= low < found.ece < high < found.ece + 0.05


def test_intervals_are_those_of_scipy_to_the_noise_of_resampling() -> None:
    values = torch.randn(3, 400, generator=torch.Generator().manual_seed(3), dtype=torch.float64) + 1
    found = mean_intervals(values, resamples=4000)
    known = scipy.stats.bootstrap(
        (values.numpy(),), np.mean, n_resamples=4000, method="percentile", axis=-1, rng=np.random.default_rng(1)
    ).confidence_interval
    assert_close(found, torch.from_numpy(np.stack([known.low, known.high], axis=1)), atol=0.01, rtol=0)
