"""Counting contradictions on repeated pairs, against counts by hand and coins."""

from math import comb

import pytest
import torch

from tacit.choices import ChoiceIndex
from tacit.evaluation.audit import repeated_pairs


def index_of(*rows: tuple[int, int, int]) -> ChoiceIndex:
    """(user, chosen, rejected), each a group of its own."""
    user, chosen, rejected = torch.tensor(rows).T
    items = torch.stack([chosen, rejected], 1)
    rank = torch.tensor([0, 1]).expand(len(rows), 2)
    return ChoiceIndex.build(user, items, rank, items, n_users=int(user.max()) + 1)


def test_counts_by_hand() -> None:
    found = repeated_pairs(index_of((0, 1, 2), (1, 1, 2), (2, 2, 1), (0, 3, 4), (1, 4, 3), (2, 5, 6)))
    assert found is not None
    assert (found.pairs, found.judgements) == (2, 5)
    assert found.losing == pytest.approx(2 / 5)
    assert found.conflict == pytest.approx((2 / 3 + 1) / 2)
    coin = sum(min(a, n - a) * comb(n, a) / 2**n for n in (3, 2) for a in range(n + 1))
    assert found.losing_by_coin == pytest.approx(coin / 5)


def test_coins_conflict_half_of_the_time_and_one_mind_never() -> None:
    g = torch.Generator().manual_seed(0)
    user = torch.arange(30).repeat_interleave(200)
    low = 2 * torch.arange(200).repeat(30)
    first = torch.rand(len(low), generator=g) < 0.5
    coin = index_of(*zip(user.tolist(), (low + first).tolist(), (low + ~first).tolist(), strict=True))
    found = repeated_pairs(coin)
    assert found is not None
    assert found.conflict == pytest.approx(0.5, abs=0.01)
    assert found.losing == pytest.approx(found.losing_by_coin, abs=0.01)
    agreed = repeated_pairs(index_of(*zip(user.tolist(), (low + 1).tolist(), low.tolist(), strict=True)))
    assert agreed is not None
    assert (agreed.losing, agreed.conflict) == (0.0, 0.0)


def test_one_person_asked_twice_counts_once_and_ties_do_not_count() -> None:
    assert repeated_pairs(index_of((0, 1, 2), (0, 2, 1))) is None
    twice = repeated_pairs(index_of((0, 1, 2), (0, 2, 1), (1, 1, 2)))
    assert twice is not None
    assert (twice.judgements, twice.losing) == (2, 0.0)
    tie = ChoiceIndex.build(
        torch.tensor([0, 1]), torch.tensor([[1, 2]] * 2), torch.zeros(2, 2, dtype=torch.int64),
        torch.tensor([[1, 2]] * 2), n_users=2,
    )  # fmt: skip
    assert repeated_pairs(tie) is None
