import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck

from tacit.likelihoods import btl, choice_log_prob, davidson, plackett_luce

EVERY_KIND = torch.tensor(
    [[0, 1, 2, 3], [0, 0, 1, -1], [0, 1, 1, 2], [0, -1, -1, -1], [-1, -1, -1, -1], [0, 1, -1, -1], [0, 0, -1, -1]]
)


@pytest.mark.parametrize("log_nu", [None, torch.tensor(-0.7)])
def test_pairs_do_not_depend_on_padding(log_nu):
    scores = torch.tensor([[0.3, 1.4], [2.0, -1.0], [0.0, 0.5]])
    rank = torch.tensor([[0, 1], [0, 0], [-1, -1]])
    wide_scores = torch.cat([scores, torch.full((3, 2), 77.0)], dim=-1)
    wide_rank = torch.cat([rank, torch.full((3, 2), -1)], dim=-1)
    narrow = choice_log_prob(scores, rank, log_nu)
    torch.testing.assert_close(choice_log_prob(wide_scores, wide_rank, log_nu), narrow)
    assert narrow[2] == 0


def test_each_kind_goes_to_its_own_model():
    scores = torch.randn(7, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    log_nu = torch.tensor(0.2, dtype=torch.float64)
    value = choice_log_prob(scores, EVERY_KIND, log_nu)
    torch.testing.assert_close(value[:3], plackett_luce.log_prob(scores[:3], EVERY_KIND[:3]))
    assert value[3:5].tolist() == [0, 0]
    outcomes = davidson.outcome_log_probs(scores[5:, 0], scores[5:, 1], log_nu)
    torch.testing.assert_close(value[5:], torch.stack([outcomes[0, 0], outcomes[1, 1]]))


def test_without_tie_parameter_a_tie_is_half_of_each_order():
    scores = torch.tensor([[1.3, -0.2], [1.3, -0.2]])
    value = choice_log_prob(scores, torch.tensor([[0, 1], [0, 0]]))
    win, loss = btl.log_prob(scores[0, 0], scores[0, 1]), btl.log_prob(scores[0, 1], scores[0, 0])
    torch.testing.assert_close(value, torch.stack([win, (win + loss) / 2]))
    # ... which is Davidson's tie as nu -> 0, less the constant.
    small = torch.tensor(-40.0)
    tie = davidson.log_prob(scores[1, 0], scores[1, 1], torch.tensor(True), small) - small
    torch.testing.assert_close(value[1], tie)


def test_equal_scores_give_the_number_of_orders():
    value = choice_log_prob(torch.zeros(4), torch.arange(4))
    assert value.item() == pytest.approx(-math.log(24))


@given(st.lists(st.floats(-1e4, 1e4), min_size=4, max_size=4), st.floats(-1e3, 1e3), st.booleans())
def test_shift_changes_nothing(values, shift, ties):
    scores = torch.tensor(values, dtype=torch.float64).expand(7, 4)
    log_nu = torch.tensor(-1.0, dtype=torch.float64) if ties else None
    torch.testing.assert_close(
        choice_log_prob(scores + shift, EVERY_KIND, log_nu),
        choice_log_prob(scores, EVERY_KIND, log_nu),
        atol=1e-7,
        rtol=0,
    )


@given(
    st.lists(st.sampled_from([0.0, 1.0, -1.0, 0.5, 1e-3]), min_size=4, max_size=4), st.sampled_from([1.0, 100.0, 1e4])
)
def test_float32_extremes_stay_finite_and_close_to_float64(signs, size):
    results = []
    for dtype in (torch.float32, torch.float64):
        scores = (size * torch.tensor(signs, dtype=dtype)).repeat(7, 1).requires_grad_()
        log_nu = torch.tensor(0.3, dtype=dtype, requires_grad=True)
        value = choice_log_prob(scores, EVERY_KIND, log_nu) + choice_log_prob(scores, EVERY_KIND)
        value.sum().backward()
        assert scores.grad is not None
        assert log_nu.grad is not None
        assert value.isfinite().all()
        assert scores.grad.isfinite().all()
        assert log_nu.grad.isfinite()
        results.append((value.detach().double(), scores.grad.double()))
    torch.testing.assert_close(results[0][0], results[1][0], atol=1e-6 * max(size, 10), rtol=0)
    torch.testing.assert_close(results[0][1], results[1][1], atol=2e-2, rtol=0)


@pytest.mark.parametrize("log_nu", [None, torch.tensor(-0.3, dtype=torch.float64)])
def test_gradients(log_nu):
    scores = torch.randn(7, 4, generator=torch.Generator().manual_seed(3), dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda s: choice_log_prob(s, EVERY_KIND, log_nu), (scores,))


def test_nan_in_padding_reaches_nothing():
    scores = torch.tensor([[0.5, -0.5, float("nan"), float("nan")], [float("nan")] * 4], requires_grad=True)
    value = choice_log_prob(scores, torch.tensor([[0, 1, -1, -1], [-1, -1, -1, -1]]))
    value.sum().backward()
    assert scores.grad is not None
    assert value.isfinite().all()
    assert scores.grad.isfinite().all()
