"""Pooling over repeats: everybody counts once, methods are compared on the same people, a leak shows."""

import pytest
import torch
from torch import Tensor

from tacit.evaluation import Predictions
from tacit.evaluation.audit import decide, pool

KS = (0, 3)


def predictions(right: dict[str, Tensor], users: Tensor, has_k: Tensor) -> Predictions:
    """Two targets per user; `right` is Bool[users], the same at every k; NaN where a user lacks k choices."""
    real = torch.ones(len(users), 2, dtype=torch.bool)
    chosen = {}
    for name, ok in right.items():
        p = torch.where(ok, 0.9, 0.1).view(1, -1, 1).expand(2, -1, 2)
        chosen[name] = torch.where(has_k.unsqueeze(-1), p, torch.nan)
    return Predictions(KS, users, has_k, torch.zeros(len(users), 2, 2, dtype=torch.int64), real, chosen)


def flags(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.bool)


def test_a_person_tested_twice_counts_once() -> None:
    every = torch.ones(2, 2, dtype=torch.bool)
    first = predictions(
        {"model": flags(1, 1), "pooled": flags(0, 0), "shuffled_user": flags(0, 0)}, torch.tensor([0, 1]), every
    )
    second = predictions(
        {"model": flags(0, 1), "pooled": flags(0, 1), "shuffled_user": flags(0, 1)}, torch.tensor([2, 0]), every
    )
    # Users of the first trial are people 4 and 2; users 0 and 2 of the second are people 1 and 4.
    measured = pool([first, second], [torch.tensor([4, 2]), torch.tensor([1, 0, 4])], 6)
    assert measured.users == {0: 3, 3: 3}
    assert measured.accuracy["model"][1].nan_to_num(-1).tolist() == [-1, 1, 1, -1, 0.5, -1]
    gain = measured.difference("model", "pooled")[3]
    assert gain.users == 3
    assert gain.mean == pytest.approx(100 * (0.0 + 1.0 + 0.5) / 3)
    assert gain.spread == pytest.approx(50.0)
    assert measured.level("pooled", 3) == pytest.approx(100 * (1 + 0 + 0) / 3)


def test_without_a_stranger_nobody_counts_at_that_k() -> None:
    has_k = torch.tensor([[True, True], [True, False]])
    found = predictions(
        {"model": flags(1, 1), "pooled": flags(0, 0), "shuffled_user": flags(0, 0)}, torch.tensor([0, 1]), has_k
    )
    found.chosen["shuffled_user"][1] = torch.nan
    measured = pool([found], [torch.tensor([0, 1])], 2)
    assert measured.users == {0: 2, 3: 0}
    assert list(measured.difference("model", "pooled")) == [0]


def test_a_planted_leak_is_seen_in_the_control() -> None:
    n = 40
    every = torch.ones(2, n, dtype=torch.bool)
    yes, no = torch.ones(n, dtype=torch.bool), torch.zeros(n, dtype=torch.bool)
    found = predictions({"model": yes, "pooled": no, "shuffled_user": yes}, torch.arange(n), every)
    measured = pool([found], [torch.arange(n)], n)
    gain, control = (measured.difference(name, "pooled")[3] for name in ("model", "shuffled_user"))
    verdict = decide(gain, control, k=3, min_gain=1.0, users=160)
    assert gain.low == 100.0
    assert (verdict.answer, verdict.leaking) == ("cannot tell", True)
