import numpy as np
import pytest
import torch
from dataset_sources import make

from tacit.evaluation.benchmark.task import side_of_choices
from tacit_experiments.datasets.drift import PERIOD, turn

PARTS = ("train", "validation", "test")


@pytest.mark.parametrize("users", ["discrete", "sphere"])
def test_flips_turn_their_share_of_contexts_and_no_target(users):
    plain, ten, twenty = (make(f"text-{users}{suffix}") for suffix in ("", "-flip10", "-flip20"))
    for part in PARTS:
        clean, few, many = (getattr(task, part) for task in (plain, ten, twenty))
        context, target = side_of_choices(clean)
        turned = [(noisy.index.items != clean.index.items).any(1) for noisy in (few, many)]
        for flipped, noisy, share in zip(turned, (few, many), (0.1, 0.2), strict=True):
            assert torch.equal(noisy.index.items.sort(1).values, clean.index.items.sort(1).values)
            assert flipped[context].float().mean().item() == pytest.approx(share, abs=0.02)
            assert not flipped[target].any()
        assert not (turned[0] & ~turned[1]).any()
    assert ten.facts["flipped_share"] == 0.1
    assert "flipped_share" not in plain.facts
    assert torch.equal(plain.vectors, twenty.vectors)
    assert plain.texts == make("text-two").texts == make("drift").texts


@pytest.mark.parametrize("name", ["text-discrete", "text-sphere", "text-two", "drift", "drift-none"])
def test_text_worlds_keep_their_sizes(name):
    task = make(name)
    assert [getattr(task, part).n_users for part in PARTS] == [600, 150, 250]
    assert len(task.vectors) == 1040
    assert [int(getattr(task, part).targets.sum()) for part in PARTS] == [0, 22, 30]
    assert (task.train.index.counts == 40).all()
    for part in (task.validation, task.test):
        context, target = side_of_choices(part)
        assert (torch.bincount(part.index.user[context]) == 30).all()
        assert (torch.bincount(part.index.user[target]) == 20).all()
        assert task.facts["oracle_accuracy"] == pytest.approx(0.875, abs=0.02)


def test_two_types_want_opposite_things_about_half_the_time():
    task = make("text-two")
    assert 0.45 < task.facts["types_disagree"] < 0.6
    assert torch.bincount(task.test.types).tolist() == [125, 125]


def test_discrete_types_are_the_ten_directions():
    assert sorted(make("text-discrete").train.types.unique().tolist()) == list(range(10))


@pytest.mark.parametrize("name", ["drift", "drift-none"])
def test_targets_come_after_everything_else(name):
    task = make(name)
    for part in (task.validation, task.test):
        context, target = side_of_choices(part)
        time = part.index.timestamp
        assert (time[target] == PERIOD).all()
        assert 0 <= time[context].min() < 0.01 * PERIOD < 0.99 * PERIOD < time[context].max() < PERIOD
    times = task.train.index.timestamp
    assert times.mean().item() == pytest.approx(PERIOD / 2, rel=0.02)


def _foreseen_by_age(task):
    """Share of old and of late context choices that the tastes at the end explain."""
    part = task.test
    context, _ = side_of_choices(part)
    reward = part.truth[part.index.user.unsqueeze(1), part.index.items]
    right = (reward[:, 0] > reward[:, 1]).float()
    late = part.index.timestamp > 0.75 * PERIOD
    old = part.index.timestamp < 0.25 * PERIOD
    return right[context & old].mean().item(), right[context & late].mean().item()


def test_tastes_turn_only_where_they_are_said_to():
    old, late = _foreseen_by_age(make("drift"))
    assert old < 0.65 < 0.82 < late
    assert _foreseen_by_age(make("drift-none")) == pytest.approx((0.875, 0.875), abs=0.025)
    still, moving = make("drift-none"), make("drift")
    assert torch.equal(still.test.truth, moving.test.truth)
    assert torch.equal(still.test.index.timestamp, moving.test.index.timestamp)
    targets = side_of_choices(still.test)[1]
    assert torch.equal(still.test.index.items[targets], moving.test.index.items[targets])


def test_tastes_turn_on_a_great_circle_at_an_even_pace():
    rng = np.random.default_rng(0)
    start, end = (torch.from_numpy(rng.standard_normal((20, 5))).float() for _ in range(2))
    start, end = (3 * torch.nn.functional.normalize(w, dim=1) for w in (start, end))
    path = turn(start, end, torch.linspace(0, 1, 9, dtype=torch.float64).expand(20, 9))
    torch.testing.assert_close(path[:, 0], start)
    torch.testing.assert_close(path[:, -1], end)
    torch.testing.assert_close(path.norm(dim=-1), torch.full((20, 9), 3.0))
    step = path.diff(dim=1).norm(dim=-1)
    torch.testing.assert_close(step, step[:, :1].expand_as(step), atol=1e-4, rtol=0)
