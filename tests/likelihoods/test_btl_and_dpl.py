import math

import choix
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck

from tacit.likelihoods import btl, mean_variance

reward = st.floats(-1e4, 1e4, width=32)


@given(reward, reward)
def test_btl_orders_sum_to_one_and_shift_changes_nothing(a, b):
    x, y = torch.tensor([a, b], dtype=torch.float64)
    assert (btl.log_prob(x, y).exp() + btl.log_prob(y, x).exp()).item() == pytest.approx(1.0)
    torch.testing.assert_close(btl.log_prob(x + 3.25, y + 3.25), btl.log_prob(x, y), atol=1e-8, rtol=0)
    torch.testing.assert_close(btl.log_prob(x, y) - btl.log_prob(y, x), x - y, atol=1e-8, rtol=0)


def test_btl_closed_form():
    assert btl.log_prob(torch.tensor(math.log(3.0)), torch.tensor(0.0)).exp().item() == pytest.approx(0.75)


def test_btl_sampling_matches_probability():
    a, b = torch.tensor([0.7, -1.0]).unsqueeze(1).expand(2, 40_000), torch.zeros(2, 1)
    wins = btl.sample(a, b, torch.Generator().manual_seed(0)).float().mean(1)
    torch.testing.assert_close(wins, btl.log_prob(a[:, 0], b[:, 0]).exp(), atol=0.01, rtol=0)


@pytest.mark.parametrize("link", ["normal", "dpl"])
@given(m=st.tuples(reward, reward), s=st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)), c=st.floats(0.1, 10))
def test_dpl_orders_sum_to_one_and_common_scale_is_free(link, m, s, c):
    (m1, m2), (s1, s2) = torch.tensor(m, dtype=torch.float64), torch.tensor(s, dtype=torch.float64)
    forward = mean_variance.log_prob(m1, s1, m2, s2, link=link)
    backward = mean_variance.log_prob(m2, s2, m1, s1, link=link)
    assert (forward.exp() + backward.exp()).item() == pytest.approx(1.0)
    torch.testing.assert_close(mean_variance.log_prob(c * m1, c * s1, c * m2, c * s2, link=link), forward)


def test_dpl_closed_forms():
    one, zero = torch.tensor(1.0, dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64)
    # Phi(1) with scales 0.6, 0.8, whose squares sum to one.
    normal = mean_variance.log_prob(one, 0.6 * one, zero, 0.8 * one).exp().item()
    assert normal == pytest.approx(0.5 * (1 + math.erf(1 / math.sqrt(2))))
    published = mean_variance.log_prob(one, 0.6 * one, zero, 0.8 * one, link="dpl").item()
    assert published == pytest.approx(-math.log1p(math.exp(-math.sqrt(2 * math.pi))))


def test_dpl_published_link_is_half_pi_steeper_at_zero():
    slopes = []
    for link in ("normal", "dpl"):
        m = torch.zeros((), dtype=torch.float64, requires_grad=True)
        half = torch.tensor(math.sqrt(0.5), dtype=torch.float64)
        mean_variance.log_prob(m, half, torch.zeros_like(m), half, link=link).exp().backward()
        assert m.grad is not None
        slopes.append(m.grad.item())
    assert slopes[1] / slopes[0] == pytest.approx(math.pi / 2)


@pytest.mark.parametrize("link", ["normal", "dpl"])
def test_dpl_gradients(link):
    generator = torch.Generator().manual_seed(1)
    m1, m2 = torch.randn(2, 6, generator=generator, dtype=torch.float64).requires_grad_().unbind()
    s1, s2 = (torch.rand(2, 6, generator=generator, dtype=torch.float64) + 0.2).requires_grad_().unbind()
    assert gradcheck(lambda *x: mean_variance.log_prob(*x, link=link), (m1, s1, m2, s2))


@pytest.mark.parametrize("link", ["normal", "dpl"])
def test_dpl_is_finite_at_extremes_in_float32(link):
    m = torch.tensor([1e4, -1e4, 0.0, 1e4], requires_grad=True)
    s = torch.tensor([1e-6, 1e-6, 1e-6, 1e4], requires_grad=True)
    value = mean_variance.log_prob(m, s, m.detach().flip(0), s.detach().flip(0), link=link)
    value.sum().backward()
    assert m.grad is not None
    assert s.grad is not None
    assert value.isfinite().all()
    assert m.grad.isfinite().all()
    assert s.grad.isfinite().all()


def test_dpl_sampling_matches_probability():
    many = torch.ones(40_000)
    for link in ("normal", "dpl"):
        drawn = mean_variance.sample(
            0.8 * many, many, 0 * many, 2 * many, link=link, generator=torch.Generator().manual_seed(2)
        )
        expected = mean_variance.log_prob(0.8 * many[0], many[0], 0 * many[0], 2 * many[0], link=link).exp()
        assert drawn.float().mean().item() == pytest.approx(expected.item(), abs=0.01)


def test_btl_against_choix():
    rng = np.random.default_rng(0)
    params = rng.normal(size=5)
    games = [tuple(rng.choice(5, 2, replace=False)) for _ in range(30)]
    winners, losers = torch.from_numpy(params[np.array(games)]).unbind(1)
    expected = choix.log_likelihood_pairwise(games, params)
    assert btl.log_prob(winners, losers).sum().item() == pytest.approx(expected)
