"""Metrics against values worked out by hand and against scikit-learn's and naive definitions."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tacit.evaluation import accuracy, brier, calibration, mean_over_users, nll, worst_decile

CHOSEN = torch.tensor([[0.9, 0.2, 0.5, 0.0], [0.6, 0.3, 0.8, 0.7]])
REAL = torch.tensor([[True, True, True, False], [True, True, True, True]])


def test_by_hand() -> None:
    assert accuracy(CHOSEN, REAL).tolist() == pytest.approx([1.5 / 3, 3 / 4])
    assert nll(CHOSEN, REAL)[0] == pytest.approx(-(math.log(0.9) + math.log(0.2) + math.log(0.5)) / 3)
    assert brier(CHOSEN, REAL)[1] == pytest.approx((0.16 + 0.49 + 0.04 + 0.09) / 4)


def test_a_certain_wrong_answer_costs_16_nats() -> None:
    assert nll(torch.zeros(1, 1), torch.ones(1, 1, dtype=torch.bool)).item() == pytest.approx(-math.log(1e-7))


def test_users_without_k_do_not_count() -> None:
    chosen = torch.stack([CHOSEN, torch.full_like(CHOSEN, math.nan)], dim=0)
    chosen[1, 0] = CHOSEN[0]
    assert mean_over_users(accuracy(chosen, REAL)).tolist() == pytest.approx([0.625, 0.5])


@pytest.mark.parametrize(("n", "tenth"), [(1, 1), (10, 1), (11, 2), (100, 10)])
def test_worst_decile_is_the_mean_of_the_lowest_tenth(n: int, tenth: int) -> None:
    values = torch.randperm(n, generator=torch.Generator().manual_seed(n)).double()
    padded = torch.cat([values, torch.full((7,), math.nan)])
    assert worst_decile(padded) == pytest.approx(sum(range(tenth)) / tenth)
    assert worst_decile(torch.stack([padded, padded + 1]))[1] == pytest.approx(sum(range(tenth)) / tenth + 1)


def test_calibration_bins_agree_with_sklearn() -> None:
    curve = pytest.importorskip("sklearn.calibration").calibration_curve
    g = torch.Generator().manual_seed(1)
    p = torch.rand(300, 10, generator=g, dtype=torch.float64)  # every user has as many targets: weights are equal
    found = calibration(p, torch.ones(300, 10, dtype=torch.bool), bins=15)
    confidence = torch.maximum(p, 1 - p).flatten()
    right = (p > 0.5).flatten()
    accuracies, confidences = curve(right.numpy(), confidence.numpy(), n_bins=15, strategy="quantile")
    assert found.mass.tolist() == pytest.approx([1 / 15] * 15)
    assert found.confidence.tolist() == pytest.approx(confidences.tolist(), abs=1e-3)
    assert found.accuracy.tolist() == pytest.approx(accuracies.tolist(), abs=1e-2)
    assert found.ece == pytest.approx(abs(confidences - accuracies).mean(), abs=1e-3)


def test_ece_of_a_constant_forecast_is_its_distance_from_the_truth() -> None:
    # 70 % sure and 60 % right: one bin, whatever the order in which right and wrong answers stand.
    chosen = torch.tensor([[0.7] * 6 + [0.3] * 4])
    assert calibration(chosen, torch.ones(1, 10, dtype=torch.bool)).ece == pytest.approx(0.1)
    assert calibration(torch.full((5, 4), 0.5), torch.ones(5, 4, dtype=torch.bool)).ece == 0.0


def test_a_calibrated_forecast_has_little_error_and_an_overconfident_one_much() -> None:
    g = torch.Generator().manual_seed(2)
    p = 0.5 + 0.5 * torch.rand(2000, 20, generator=g, dtype=torch.float64)
    chosen = torch.where(torch.rand(p.shape, generator=g, dtype=torch.float64) < p, p, 1 - p)
    sharper = torch.sigmoid(3 * torch.logit(chosen.clamp(1e-6, 1 - 1e-6)))
    real = torch.ones(p.shape, dtype=torch.bool)
    assert calibration(chosen, real).ece < 0.01
    assert calibration(sharper, real).ece > 0.1


def test_every_user_weighs_the_same_in_the_calibration() -> None:
    # One user with 1 wrong sure answer, one with 9 right ones: accuracy 0.5 and not 0.9. In float32, 0.8 and
    # 1 - 0.2 differ by rounding, and still share a bin.
    chosen = torch.full((2, 9), 0.8)
    chosen[0, 0] = 0.2
    real = torch.ones(2, 9, dtype=torch.bool)
    real[0, 1:] = False
    found = calibration(chosen, real)
    assert found.ece == pytest.approx(0.3)
    assert found.gaps.sum(1).tolist() == pytest.approx([0.8, -0.2])


tables = st.integers(0, 10_000).map(
    lambda seed: (
        (torch.rand(9, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 8).round() / 8,
        torch.rand(9, 6, generator=torch.Generator().manual_seed(seed + 1)) < 0.7,
    )
)


@given(tables, st.randoms(use_true_random=False))
def test_order_of_users_and_pairs_does_not_matter(table: tuple[torch.Tensor, torch.Tensor], random) -> None:
    chosen, real = table
    users, pairs = random.sample(range(9), 9), random.sample(range(6), 6)
    a = calibration(chosen, real, bins=4)
    b = calibration(chosen[users][:, pairs], real[users][:, pairs], bins=4)
    assert a.ece == pytest.approx(b.ece, abs=1e-12)
    assert torch.allclose(a.gaps[users], b.gaps)


@given(tables)
def test_gaps_and_bins_tell_the_same_error(table: tuple[torch.Tensor, torch.Tensor]) -> None:
    chosen, real = table
    found = calibration(chosen, real, bins=4)
    n = int(real.any(1).sum())
    assert float(found.gaps.sum(0).abs().sum() / max(1, n)) == pytest.approx(found.ece, abs=1e-12)
    assert float(found.mass.sum()) == pytest.approx(1.0 if n else 0.0)
