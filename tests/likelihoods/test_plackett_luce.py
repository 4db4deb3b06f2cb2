from collections import Counter
from itertools import permutations

import choix
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.autograd import gradcheck

from tacit.likelihoods import btl, plackett_luce

scores_of_four = st.lists(st.floats(-1e4, 1e4), min_size=4, max_size=4)


def untied(*shape_slots):
    return torch.arange(shape_slots[-1]).expand(shape_slots)


@given(scores_of_four)
def test_orders_sum_to_one_and_shift_changes_nothing(values):
    scores = torch.tensor(values, dtype=torch.float64)
    orders = torch.tensor(list(permutations(range(4))))
    log_probs = plackett_luce.log_prob(scores[orders], untied(24, 4))
    assert log_probs.exp().sum().item() == pytest.approx(1.0)
    torch.testing.assert_close(
        plackett_luce.log_prob(scores[orders] - 7.5, untied(24, 4)), log_probs, atol=1e-8, rtol=0
    )


def test_against_choix():
    rng = np.random.default_rng(0)
    params = rng.normal(size=6)
    rankings = [tuple(rng.permutation(6)[:n]) for n in (2, 3, 4, 5, 6, 6)]
    scores, rank = torch.zeros(6, 6, dtype=torch.float64), torch.full((6, 6), -1)
    for row, ranking in enumerate(rankings):
        scores[row, : len(ranking)] = torch.from_numpy(params[list(ranking)])
        rank[row, : len(ranking)] = torch.arange(len(ranking))
    total = plackett_luce.log_prob(scores, rank).sum().item()
    assert total == pytest.approx(choix.log_likelihood_rankings(rankings, params))


def test_two_slots_are_btl():
    scores = torch.tensor([[0.3, -0.4], [2.0, 5.0]])
    torch.testing.assert_close(
        plackett_luce.log_prob(scores, untied(2, 2)), btl.log_prob(scores[:, 0], scores[:, 1]), atol=1e-6, rtol=0
    )


def test_breslow_ties_by_hand():
    scores = torch.tensor([1.0, 0.5, 0.2, -1.0, 99.0], dtype=torch.float64)
    rank = torch.tensor([0, 1, 1, 2, -1])
    e = scores.exp()
    expected = scores[0] - e[:4].sum().log() + scores[1] + scores[2] - 2 * e[1:4].sum().log()
    torch.testing.assert_close(plackett_luce.log_prob(scores, rank), expected)


@given(scores_of_four)
def test_tied_items_are_interchangeable(values):
    scores = torch.tensor(values, dtype=torch.float64)
    rank = torch.tensor([0, 1, 1, 1])
    swapped = scores[[0, 3, 1, 2]]
    torch.testing.assert_close(plackett_luce.log_prob(scores, rank), plackett_luce.log_prob(swapped, rank))


def test_padding_changes_neither_value_nor_gradient():
    plain = torch.tensor([0.4, -0.3, 1.1], dtype=torch.float64, requires_grad=True)
    plackett_luce.log_prob(plain, torch.arange(3)).backward()
    padded = torch.tensor([0.4, -0.3, 1.1, 1e30, -1e30], dtype=torch.float64, requires_grad=True)
    value = plackett_luce.log_prob(padded, torch.tensor([0, 1, 2, -1, -1]))
    value.backward()
    assert plain.grad is not None
    assert padded.grad is not None
    torch.testing.assert_close(value, plackett_luce.log_prob(plain, torch.arange(3)))
    torch.testing.assert_close(padded.grad[:3], plain.grad)
    assert padded.grad[3:].tolist() == [0, 0]


def test_gradients():
    scores = torch.randn(5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    rank = torch.tensor([[0, 1, 2, 3], [0, 0, 1, 2], [0, 1, 1, -1], [0, 1, -1, -1], [-1, -1, -1, -1]])
    assert gradcheck(lambda s: plackett_luce.log_prob(s, rank), (scores,))


def test_sampling_matches_probability():
    scores, mask = torch.tensor([0.8, 0.0, -0.6, 9.0]), torch.tensor([True, True, True, False])
    n = 40_000
    orders = plackett_luce.sample(scores.expand(n, 4), mask.expand(n, 4), torch.Generator().manual_seed(0))
    assert (orders[:, 3] == 3).all()
    share = Counter(map(tuple, orders[:, :3].tolist()))
    for order in permutations(range(3)):
        expected = plackett_luce.log_prob(scores[list(order)], torch.arange(3)).exp().item()
        assert share[order] / n == pytest.approx(expected, abs=0.01)
