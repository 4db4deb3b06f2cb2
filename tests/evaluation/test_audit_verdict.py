"""The verdict: where it is read, its three answers and their borders, and how many users would settle it."""

import math

import pytest
import torch

from tacit.errors import ChoiceError
from tacit.evaluation import mean_intervals
from tacit.evaluation.audit import Estimate, decide, supported_k, users_needed

QUIET = Estimate(-1.0, -2.0, 0.0, 5.0, 100)


def estimate(low: float, high: float, *, users: int = 100, spread: float = 10.0) -> Estimate:
    return Estimate((low + high) / 2, low, high, spread, users)


@pytest.mark.parametrize(
    ("low", "high", "min_gain", "answer"),
    [
        (1.01, 3.0, 1.0, "pays"),
        (1.0, 3.0, 1.0, "cannot tell"),
        (-3.0, 0.99, 1.0, "does not pay"),
        (-3.0, 1.0, 1.0, "cannot tell"),
        (0.5, 1.5, 1.0, "cannot tell"),
        (0.5, 1.5, 0.0, "pays"),
        (0.5, 1.5, 2.0, "does not pay"),
        (-2.0, -1.0, 0.0, "does not pay"),
    ],
)
def test_the_answer_is_read_off_the_interval(low: float, high: float, min_gain: float, answer: str) -> None:
    assert decide(estimate(low, high), QUIET, k=5, min_gain=min_gain, users=300).answer == answer


def test_few_users_never_get_an_answer() -> None:
    for low, high in ((5.0, 6.0), (-6.0, -5.0)):
        found = decide(estimate(low, high, users=19, spread=0.0), QUIET, k=5, min_gain=1.0, users=60)
        assert found.answer == "cannot tell"
        assert found.users_needed == math.ceil(20 * 60 / 19)
        assert decide(estimate(low, high, users=20), QUIET, k=5, min_gain=1.0, users=60).answer != "cannot tell"


def test_a_control_that_gains_refuses_a_yes_but_not_a_no() -> None:
    gains = estimate(0.01, 2.0)
    refused = decide(estimate(4.0, 6.0), gains, k=5, min_gain=1.0, users=300)
    assert (refused.answer, refused.leaking, refused.users_needed, refused.beyond) == ("cannot tell", True, None, False)
    no = decide(estimate(-1.0, 0.9), gains, k=5, min_gain=1.0, users=300)
    assert (no.answer, no.leaking) == ("does not pay", True)
    level = decide(estimate(4.0, 6.0), estimate(0.0, 2.0), k=5, min_gain=1.0, users=300)
    assert (level.answer, level.leaking) == ("pays", False)


@pytest.mark.parametrize(
    ("users", "k"),
    [
        ({0: 100, 1: 100, 3: 100, 5: 60, 10: 50}, 10),
        ({0: 100, 1: 100, 3: 100, 5: 60, 10: 49}, 5),
        ({0: 100, 1: 90, 3: 40, 5: 30, 10: 0}, 3),
        ({0: 100, 1: 90, 3: 19, 5: 10, 10: 0}, 1),
        ({0: 100, 1: 40, 3: 10, 5: 1, 10: 0}, 1),
        ({5: 100, 10: 10}, 5),
    ],
    ids=["ten", "half", "three", "one", "some", "no zero"],
)
def test_k_is_fixed_by_counts_alone(users: dict[int, int], k: int) -> None:
    assert supported_k(users) == k


def test_nobody_with_a_choice_is_refused() -> None:
    with pytest.raises(ChoiceError, match=r"nobody has 1 choices .* bring more choices of each user"):
        supported_k({0: 30, 1: 0, 3: 0})


def test_with_the_users_needed_the_interval_just_clears_the_border() -> None:
    found = Estimate(2.0, 0.0, 4.0, 12.0, 80)
    needed = users_needed(found, 1.0, users=200)
    assert needed is not None
    tested = round(needed * 80 / 200)  # the same share of the users gets tested
    draws = 2.0 + 12.0 * torch.randn(40, tested, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    half = float(mean_intervals(draws).diff(dim=1).mean()) / 2
    assert half == pytest.approx(1.0, rel=0.03)
    half = float(mean_intervals(draws[:, : tested // 2]).diff(dim=1).mean()) / 2
    assert half == pytest.approx(math.sqrt(2.0), rel=0.06)


def test_users_needed_is_capped_and_never_what_is_there() -> None:
    assert users_needed(Estimate(1.0, 0.0, 2.0, 10.0, 100), 1.0, users=300) is None
    assert users_needed(Estimate(1.001, 0.0, 2.0, 10.0, 100), 1.0, users=300) is None
    assert users_needed(Estimate(3.0, 0.9, 5.0, 0.1, 100), 1.0, users=300) == 301
    found = decide(Estimate(1.0, 0.0, 2.0, 10.0, 100), QUIET, k=5, min_gain=1.0, users=300)
    assert (found.answer, found.users_needed, found.beyond) == ("cannot tell", None, True)
