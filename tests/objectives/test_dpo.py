"""Objectives of the policy against their formulas in NumPy, and what each of them promises."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from tacit.objectives.dpo import distilled_loss, preference_loss

MARGINS = st.lists(st.floats(-50, 50), min_size=1, max_size=5).map(lambda m: torch.tensor(m, dtype=torch.float64))
BETAS = st.floats(0.01, 2)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@given(MARGINS, BETAS)
def test_it_is_minus_the_log_probability_of_the_choice(margin: Tensor, beta: float) -> None:
    expected = -np.log(sigmoid(beta * margin.numpy()))
    assert_close(preference_loss(margin, beta=beta).numpy(), expected, rtol=1e-9, atol=1e-12)


def test_without_training_it_is_that_of_a_coin() -> None:
    assert preference_loss(torch.zeros(1)).item() == pytest.approx(math.log(2))


def test_beta_is_a_tenth_by_default() -> None:
    margin = torch.tensor([3.0, -2.0])
    assert torch.equal(preference_loss(margin), preference_loss(margin, beta=0.1))
    assert not torch.equal(preference_loss(margin), preference_loss(margin, beta=0.2))


@given(MARGINS, BETAS)
def test_a_tie_says_the_same_in_both_orders(margin: Tensor, beta: float) -> None:
    tie = torch.ones(len(margin), dtype=torch.bool)
    found = preference_loss(margin, beta=beta, tie=tie)
    assert_close(found, preference_loss(-margin, beta=beta, tie=tie))
    assert_close(found, (preference_loss(margin, beta=beta) + preference_loss(-margin, beta=beta)) / 2)


def test_only_the_tied_pairs_count_half_and_half() -> None:
    margin, tie = torch.tensor([2.0, 2.0, -1.0]), torch.tensor([False, True, False])
    found, strict = preference_loss(margin, beta=1.0, tie=tie), preference_loss(margin, beta=1.0)
    assert torch.equal(found[[0, 2]], strict[[0, 2]])
    assert found[1] > strict[1] + 0.5


def test_a_tie_pulls_the_margin_to_zero() -> None:
    margin = torch.tensor([2.0, -2.0, 0.0], requires_grad=True)
    preference_loss(margin, beta=1.0, tie=torch.tensor([True, True, True])).sum().backward()
    assert margin.grad is not None
    assert margin.grad.sign().tolist() == [1, -1, 0]


def test_margins_far_out_stay_finite() -> None:
    margin = torch.tensor([1e4, -1e4], requires_grad=True)
    loss = preference_loss(margin, beta=1.0, tie=torch.tensor([False, False]))
    loss.sum().backward()
    assert bool(loss.isfinite().all())
    assert margin.grad is not None
    assert bool(margin.grad.isfinite().all())


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
