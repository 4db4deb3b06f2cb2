"""Contexts of many targets at once: the user's own choices, never of the target's group, the same however batched."""

from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tacit.choices import ChoiceIndex
from tacit.episodes import draw_contexts


@st.composite
def indices(draw: st.DrawFn) -> ChoiceIndex:
    """Small indices: unequally busy users, rankings with ties and padding slots, groups that several slots share."""
    users, slots, groups = draw(st.integers(1, 4)), draw(st.integers(2, 4)), draw(st.integers(1, 6))
    rows = draw(
        st.lists(
            st.tuples(st.integers(0, users - 1), st.lists(st.integers(0, groups - 1), min_size=2, max_size=slots)),
            min_size=1,
            max_size=16,
        )
    )
    group = torch.tensor([[*of, *[of[0]] * (slots - len(of))] for _, of in rows])
    rank = torch.tensor([[*range(len(of)), *[-1] * (slots - len(of))] for _, of in rows])
    items = torch.arange(len(rows) * slots).reshape(len(rows), slots).masked_fill(rank < 0, 0)
    return ChoiceIndex.build(torch.tensor([user for user, _ in rows]), items, rank, group, n_users=users)


def plenty(users: int, choices: int) -> ChoiceIndex:
    """Every choice a pair of its own group."""
    n = users * choices
    group = torch.arange(n).unsqueeze(1).expand(n, 2)
    rank = torch.tensor([0, 1]).expand(n, 2)
    return ChoiceIndex.build(
        torch.arange(users).repeat_interleave(choices), torch.arange(2 * n).reshape(n, 2), rank, group, n_users=users
    )


def everything(index: ChoiceIndex, max_context: int, seed: int = 0, epoch: int = 0) -> Tensor:
    return draw_contexts(index, torch.arange(len(index)), max_context, seed=seed, epoch=epoch)


def as_sets(contexts: Tensor) -> list[list[int]]:
    return [sorted(row[row >= 0].tolist()) for row in contexts]


@settings(max_examples=200)
@given(index=indices(), max_context=st.integers(0, 5), seed=st.integers(0, 1000), epoch=st.integers(0, 5))
def test_contexts_are_other_choices_of_the_same_user_and_of_other_groups(
    index: ChoiceIndex, max_context: int, seed: int, epoch: int
) -> None:
    for target, drawn in enumerate(as_sets(everything(index, max_context, seed, epoch))):
        assert len(drawn) <= max_context
        assert len(set(drawn)) == len(drawn), "one choice twice"
        assert target not in drawn
        assert all(index.user[row] == index.user[target] for row in drawn)
        own = set(index.group[target].tolist())
        assert not any(own & set(index.group[row].tolist()) for row in drawn), "a group on both sides"


@settings(max_examples=60)
@given(index=indices(), max_context=st.integers(1, 5), seed=st.integers(0, 1000))
def test_k_is_capped_by_what_there_is_and_by_nothing_else(index: ChoiceIndex, max_context: int, seed: int) -> None:
    """Over many epochs the largest context is all that may be in it, or max_context."""
    epochs, n = 200, len(index)
    drawn = draw_contexts(
        index, torch.arange(n).repeat(epochs), max_context, seed=seed, epoch=torch.arange(epochs).repeat_interleave(n)
    )
    largest = (drawn >= 0).sum(1).view(epochs, n).amax(0)
    for target in range(len(index)):
        own = set(index.group[target].tolist())
        free = sum(
            int(index.user[row] == index.user[target]) and not own & set(index.group[row].tolist())
            for row in range(len(index))
        )
        assert largest[target] == min(free, max_context)


def test_k_is_uniform() -> None:
    index = plenty(40, 30)
    sizes = torch.cat([(everything(index, 4, seed=3, epoch=epoch) >= 0).sum(1) for epoch in range(5)])
    counts = torch.bincount(sizes, minlength=5)
    expected = len(sizes) / 5
    assert len(counts) == 5
    assert ((counts - expected) ** 2 / expected).sum() < 18.5  # 4 degrees of freedom: P = 0.001


def test_every_other_choice_is_drawn_equally_often() -> None:
    index, times = plenty(1, 11), torch.zeros(11, 11)
    for epoch in range(600):
        for target, drawn in enumerate(as_sets(everything(index, 5, epoch=epoch))):
            times[target, drawn] += 1
    assert bool((times.diagonal() == 0).all())
    others = times[~torch.eye(11, dtype=torch.bool)]
    assert others.mean().item() == pytest.approx(600 * 2.5 / 10, rel=0.05)
    assert others.min() > 100  # sd 11
    assert others.max() < 200


def test_also_of_a_user_with_very_many_choices_each_is_drawn() -> None:
    """Only a run of 8 (max_context + 1) is looked at, another one every time."""
    index, seen = plenty(1, 100), set()
    for epoch in range(200):
        for drawn in as_sets(draw_contexts(index, torch.tensor([7]), 2, seed=0, epoch=epoch)):
            seen |= set(drawn)
    assert len(seen) > 80
    assert 7 not in seen


@settings(max_examples=60)
@given(index=indices(), seed=st.integers(0, 100), order=st.randoms(use_true_random=False), cut=st.integers(0, 16))
def test_contexts_do_not_depend_on_how_targets_are_batched(
    index: ChoiceIndex, seed: int, order: Random, cut: int
) -> None:
    whole = as_sets(everything(index, 3, seed))
    rows = list(range(len(index)))
    order.shuffle(rows)
    for part in (rows[:cut], rows[cut:]):
        drawn = as_sets(draw_contexts(index, torch.tensor(part, dtype=torch.int64), 3, seed=seed))
        assert drawn == [whole[row] for row in part]


def test_beside_a_busier_user_contexts_stay_the_same() -> None:
    busy, quiet = 200, 12
    user = torch.tensor([0] * quiet + [1] * busy)
    both, n = plenty(1, quiet + busy), quiet + busy
    index = ChoiceIndex.build(user, both.items, both.rank, both.group, n_users=2)
    rows = torch.arange(n)
    together = as_sets(draw_contexts(index, rows, 3, seed=1))
    assert as_sets(draw_contexts(index, rows[:quiet], 3, seed=1)) == together[:quiet]
    assert as_sets(draw_contexts(index, rows[quiet:], 3, seed=1)) == together[quiet:]


def test_each_target_may_be_at_an_epoch_of_its_own() -> None:
    index, rows = plenty(3, 10), torch.arange(30)
    epochs = torch.arange(30) % 2
    drawn = as_sets(draw_contexts(index, rows, 4, seed=0, epoch=epochs))
    by_epoch = [as_sets(everything(index, 4, epoch=epoch)) for epoch in (0, 1)]
    assert drawn == [by_epoch[int(epoch)][row] for row, epoch in enumerate(epochs)]


@pytest.mark.parametrize("change", [{"epoch": 1}, {"seed": 1}], ids=str)
def test_another_epoch_or_seed_draws_another_context(change: dict[str, int]) -> None:
    index = plenty(5, 20)
    first, again = everything(index, 4), everything(index, 4, **change)
    assert as_sets(first) == as_sets(everything(index, 4))
    same = sum(a == b and len(a) > 0 for a, b in zip(as_sets(first), as_sets(again), strict=True))
    assert same < 5


def test_users_with_one_choice_get_nothing() -> None:
    index = plenty(4, 1)
    assert everything(index, 3).shape[0] == 4
    assert bool((everything(index, 3) == -1).all())
    assert bool((everything(index, 0) == -1).all())
    assert draw_contexts(index, torch.zeros(0, dtype=torch.int64), 3, seed=0).shape[0] == 0


def test_drawing_leaves_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    everything(plenty(5, 20), 4)
    assert torch.equal(torch.get_rng_state(), before)
