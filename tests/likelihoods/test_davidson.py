import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck

from tacit.likelihoods import btl, davidson

reward = st.floats(-1e4, 1e4)
log_ties = st.floats(-20, 20)


@given(reward, reward, log_ties)
def test_three_outcomes_sum_to_one_and_swap(a, b, log_nu):
    a, b, log_nu = torch.tensor([a, b, log_nu], dtype=torch.float64)
    outcomes = davidson.outcome_log_probs(a, b, log_nu)
    assert outcomes.exp().sum().item() == pytest.approx(1.0)
    torch.testing.assert_close(davidson.outcome_log_probs(b, a, log_nu), outcomes.flip(-1))
    torch.testing.assert_close(davidson.outcome_log_probs(a + 1.5, b + 1.5, log_nu), outcomes)


def test_closed_form():
    a, b, log_nu = torch.tensor([math.log(4.0), 0.0, math.log(0.5)], dtype=torch.float64)
    # 2 : 0.5 : 0.5
    torch.testing.assert_close(
        davidson.outcome_log_probs(a, b, log_nu).exp(), torch.tensor([4, 1, 1], dtype=torch.float64) / 6
    )
    assert davidson.log_prob(a, b, torch.tensor(True), log_nu).exp().item() == pytest.approx(1 / 6)
    assert davidson.log_prob(b, a, torch.tensor(False), log_nu).exp().item() == pytest.approx(1 / 6)


def test_without_ties_it_is_btl():
    a, b = torch.linspace(-3, 3, 7), torch.zeros(7)
    value = davidson.log_prob(a, b, torch.zeros(7, dtype=torch.bool), torch.tensor(-40.0))
    torch.testing.assert_close(value, btl.log_prob(a, b))


def test_gradients():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 5, generator=generator, dtype=torch.float64).requires_grad_().unbind()
    log_nu = torch.tensor(-0.4, dtype=torch.float64, requires_grad=True)
    tie = torch.tensor([True, False, True, False, False])
    assert gradcheck(lambda a, b, n: davidson.log_prob(a, b, tie, n), (a, b, log_nu))


def test_sampling_matches_probability():
    a, b, log_nu = torch.full((40_000,), 0.6), torch.zeros(40_000), torch.tensor(-0.2)
    drawn = davidson.sample(a, b, log_nu, torch.Generator().manual_seed(0))
    share = torch.bincount(drawn, minlength=3) / len(drawn)
    torch.testing.assert_close(share, davidson.outcome_log_probs(a[0], b[0], log_nu).exp(), atol=0.01, rtol=0)
