"""Objectives of the policy against their formulas in NumPy, and what each of them promises."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from tacit.errors import ConfigError
from tacit.objectives.dpo import PreferenceLoss, distilled_loss, preference_loss

MARGINS = st.lists(st.floats(-50, 50), min_size=1, max_size=5).map(lambda m: torch.tensor(m, dtype=torch.float64))
BETAS = st.floats(0.01, 2)
KINDS: tuple[PreferenceLoss, ...] = ("sigmoid", "ipo", "robust")


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@given(MARGINS, BETAS)
def test_sigmoid_is_minus_the_log_probability_of_the_choice(margin: Tensor, beta: float) -> None:
    expected = -np.log(sigmoid(beta * margin.numpy()))
    assert_close(preference_loss(margin, beta=beta).numpy(), expected, rtol=1e-9, atol=1e-12)


@given(MARGINS, BETAS)
def test_ipo_is_the_square_distance_from_the_margin_aimed_at(margin: Tensor, beta: float) -> None:
    expected = (margin.numpy() - 1 / (2 * beta)) ** 2
    assert_close(preference_loss(margin, kind="ipo", beta=beta).numpy(), expected, rtol=1e-9, atol=1e-12)


def test_without_training_the_sigmoid_loss_is_that_of_a_coin() -> None:
    assert preference_loss(torch.zeros(1)).item() == pytest.approx(math.log(2))


def test_beta_is_a_tenth_by_default() -> None:
    margin = torch.tensor([3.0, -2.0])
    for kind in KINDS:
        assert torch.equal(preference_loss(margin, kind=kind), preference_loss(margin, kind=kind, beta=0.1))
        assert not torch.equal(preference_loss(margin, kind=kind), preference_loss(margin, kind=kind, beta=0.2))


@given(MARGINS, BETAS, st.floats(0, 0.49))
def test_robust_is_unbiased_under_flipped_choices(margin: Tensor, beta: float, noise: float) -> None:
    """Its mean over the flips that happen with probability `noise` is the clean loss of the true choice."""
    right = preference_loss(margin, kind="robust", beta=beta, noise=noise)
    flipped = preference_loss(-margin, kind="robust", beta=beta, noise=noise)
    clean = preference_loss(margin, beta=beta)
    assert_close((1 - noise) * right + noise * flipped, clean, rtol=1e-7, atol=1e-9)


@given(MARGINS, BETAS)
def test_robust_without_noise_is_sigmoid(margin: Tensor, beta: float) -> None:
    assert torch.equal(preference_loss(margin, kind="robust", beta=beta), preference_loss(margin, beta=beta))


def test_robust_is_not_the_clean_loss_of_what_was_said() -> None:
    margin = torch.tensor([5.0, -5.0])
    gap = preference_loss(margin, kind="robust", beta=1.0, noise=0.2) - preference_loss(margin, beta=1.0)
    assert gap.abs().min() > 0.5


@given(MARGINS, BETAS, st.sampled_from(KINDS))
def test_a_tie_says_the_same_in_both_orders(margin: Tensor, beta: float, kind: PreferenceLoss) -> None:
    tie = torch.ones(len(margin), dtype=torch.bool)
    found = preference_loss(margin, kind=kind, beta=beta, tie=tie)
    assert_close(found, preference_loss(-margin, kind=kind, beta=beta, tie=tie))
    both = preference_loss(margin, kind=kind, beta=beta) + preference_loss(-margin, kind=kind, beta=beta)
    assert_close(found, both / 2)


def test_only_the_tied_pairs_count_half_and_half() -> None:
    margin, tie = torch.tensor([2.0, 2.0, -1.0]), torch.tensor([False, True, False])
    found, strict = preference_loss(margin, beta=1.0, tie=tie), preference_loss(margin, beta=1.0)
    assert torch.equal(found[[0, 2]], strict[[0, 2]])
    assert found[1] > strict[1] + 0.5


@pytest.mark.parametrize("kind", ["sigmoid", "robust"])
def test_a_tie_pulls_the_margin_to_zero(kind: PreferenceLoss) -> None:
    margin = torch.tensor([2.0, -2.0, 0.0], requires_grad=True)
    preference_loss(margin, kind=kind, beta=1.0, tie=torch.tensor([True, True, True])).sum().backward()
    assert margin.grad is not None
    assert margin.grad.sign().tolist() == [1, -1, 0]


@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_margins_far_out_stay_finite(noise: float) -> None:
    margin = torch.tensor([1e4, -1e4], requires_grad=True)
    loss = preference_loss(margin, kind="robust", beta=1.0, noise=noise, tie=torch.tensor([False, False]))
    loss.sum().backward()
    assert bool(loss.isfinite().all())
    assert margin.grad is not None
    assert bool(margin.grad.isfinite().all())


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"kind": "hinge"}, "'hinge'.*sigmoid, ipo, robust"),
        ({"kind": "robust", "noise": 0.5}, "noise 0.5"),
        ({"kind": "robust", "noise": -0.1}, "noise -0.1"),
        ({"kind": "robust", "noise": float("nan")}, "noise nan"),
        ({"kind": "sigmoid", "noise": 0.1}, "noise 0.1 with the loss 'sigmoid'"),
        ({"kind": "ipo", "noise": 0.1}, "noise 0.1 with the loss 'ipo'"),
    ],
    ids=str,
)
def test_what_it_cannot_use_is_refused(settings: dict, found: str) -> None:
    with pytest.raises(ConfigError, match=found) as caught:
        preference_loss(torch.zeros(2), **settings)
    assert "\n" not in str(caught.value)


# -- distillation ------------------------------------------------------------------------------------------------------


def test_distilled_is_half_the_square_up_to_a_nat_and_then_a_line() -> None:
    """By hand, with beta margins 1, 1, 1, -1 and 3."""
    margin, gap = torch.tensor([10.0, 10.0, 10.0, -10.0, 30.0]), torch.tensor([1.0, 1.5, 2.0, 2.0, 23.0])
    assert_close(distilled_loss(margin, gap), torch.tensor([0, 0.125, 0.5, 2.5, 19.5]))
    assert_close(distilled_loss(0.2 * margin, gap, beta=0.5), distilled_loss(margin, gap))


@given(MARGINS, BETAS, st.floats(0, 50))
def test_distilled_is_least_where_the_margin_is_the_gap_over_beta(margin: Tensor, beta: float, gap: float) -> None:
    aim = torch.full_like(margin, gap)
    assert_close(distilled_loss(aim / beta, aim, beta=beta), torch.zeros_like(margin))
    off = (beta * margin - gap).abs()
    assert_close(distilled_loss(margin, aim, beta=beta), torch.where(off < 1, off**2 / 2, off - 0.5))


@given(BETAS)
def test_no_gap_pulls_harder_than_beta(beta: float) -> None:
    """However far off: the last of 20 nats hardly matters, and must not outweigh all other pairs."""
    margin = torch.tensor([-1e4, -3.0, 0.0, 0.1, 1e4], dtype=torch.float64, requires_grad=True)
    loss = distilled_loss(margin, torch.tensor([20.0, 0.0, 50.0, 0.1 * beta, 1.0]).double(), beta=beta)
    (slope,) = torch.autograd.grad(loss.sum(), margin)
    assert bool(loss.isfinite().all())
    assert_close(slope[[0, 2, 4]], beta * torch.tensor([-1.0, -1.0, 1.0], dtype=torch.float64))
    assert slope.abs().max() <= beta * (1 + 1e-9)
