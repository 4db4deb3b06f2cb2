"""Training episodes: disjoint by group, fresh, seeded, fair in k and in users, made of real choices."""

from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit.choices import ChoiceIndex
from tacit.episodes import ChoiceBatch, Episode, EpisodeSampler


@st.composite
def indices(draw: st.DrawFn) -> ChoiceIndex:
    """Small indices: unequally busy users, rankings with ties and padding, groups of one item or several."""
    users, slots = draw(st.integers(1, 5)), draw(st.integers(2, 4))
    per_group = draw(st.sampled_from([1, 2, 5]))  # 1: an item is its own group
    n_items = draw(st.integers(slots, 20))
    rows = draw(
        st.lists(
            st.tuples(st.integers(0, users - 1), st.permutations(range(n_items)), st.integers(2, slots), st.booleans()),
            max_size=20,
        )
    )
    user = torch.tensor([r[0] for r in rows], dtype=torch.int64)
    items, rank = torch.zeros(len(rows), slots, dtype=torch.int64), torch.full((len(rows), slots), -1)
    group = torch.zeros(len(rows), slots, dtype=torch.int64)
    for i, (_, order, real, tied) in enumerate(rows):
        items[i, :real] = torch.tensor(order[:real])
        rank[i, :real] = 0 if tied else torch.arange(real)
        group[i] = items[i, 0] // per_group
        group[i, :real] = items[i, :real] // per_group
    return ChoiceIndex.build(user, items, rank, group, n_users=users)


def sampler_of(index: ChoiceIndex, *, max_context: int = 3, targets: int = 4, seed: int = 0, **more) -> EpisodeSampler:
    """Item i has the vector [i], so that an episode can be read back."""
    return EpisodeSampler(index, torch.arange(100.0).unsqueeze(1), max_context, targets, seed, **more)


def read(batch: ChoiceBatch, user: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Items and ranks of the real choices of one user."""
    found = []
    for choice in range(batch.n_choices):
        if batch.weight[user, choice] > 0:
            rank = batch.rank[user, choice].tolist()
            items = batch.vectors[user, choice, :, 0].int().tolist()
            found.append((tuple(i for i, r in zip(items, rank, strict=True) if r >= 0), tuple(rank)))
    return found


def choices_of(index: ChoiceIndex, user: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    found = []
    for row in range(int(index.offsets[user]), int(index.offsets[user + 1])):
        rank = index.rank[row].tolist()
        found.append((tuple(i for i, r in zip(index.items[row].tolist(), rank, strict=True) if r >= 0), tuple(rank)))
    return found


def groups_by_item(index: ChoiceIndex) -> dict[int, int]:
    real = index.rank >= 0
    return dict(zip(index.items[real].tolist(), index.group[real].tolist(), strict=True))


def same(a: Episode, b: Episode) -> bool:
    return all(
        torch.equal(getattr(getattr(a, side), name), getattr(getattr(b, side), name))
        for side in ("context", "target")
        for name in ("vectors", "rank", "weight")
    )


@settings(max_examples=150)
@given(index=indices(), seed=st.integers(0, 1000), step=st.integers(0, 1000), by_hand=st.booleans())
def test_episodes_are_real_choices_and_disjoint_by_group(
    index: ChoiceIndex, seed: int, step: int, by_hand: bool
) -> None:
    chosen = torch.rand(21, generator=torch.Generator().manual_seed(seed)) < 0.5 if by_hand else None
    sampler = sampler_of(index, seed=seed, target_groups=chosen)
    group = groups_by_item(index)
    episode = sampler.sample(torch.arange(index.n_users), step)
    for user in range(index.n_users):
        own = Counter(choices_of(index, user))
        context, target = read(episode.context, user), read(episode.target, user)
        assert len(context) <= 3
        assert len(target) <= 4
        assert not Counter(context + target) - own, "a choice the user never made, or one drawn twice"
        sides = [{group[i] for items, _ in side for i in items} for side in (context, target)]
        assert not sides[0] & sides[1], "a group on both sides"
        if chosen is not None:
            assert not any(chosen[g] for g in sides[0])
            assert all(chosen[g] for g in sides[1])


def plenty(users: int, choices: int = 200) -> ChoiceIndex:
    """Every choice a pair of its own group."""
    n = users * choices
    items = torch.arange(2 * n).reshape(n, 2)
    user = torch.arange(users).repeat_interleave(choices)
    return ChoiceIndex.build(
        user, items, torch.tensor([0, 1]).expand(n, 2), torch.arange(n).unsqueeze(1).expand(n, 2), n_users=users
    )


def wide(index: ChoiceIndex, **settings: Any) -> EpisodeSampler:
    return EpisodeSampler(index, torch.arange(2.0 * len(index)).unsqueeze(1), **settings)


def test_k_is_uniform_per_user() -> None:
    sampler = wide(plenty(500), max_context=4, targets=3, seed=1)
    counts = torch.zeros(5)
    mixed = 0
    for step in range(10):
        k = (sampler.sample(torch.arange(500), step).context.weight > 0).sum(1)
        counts += torch.bincount(k, minlength=5)
        mixed += len(k.unique()) == 5
    assert mixed == 10, "one k for a whole batch"
    chi_square = ((counts - 1000) ** 2 / 1000).sum()
    assert chi_square < 18.5  # 4 degrees of freedom: P = 0.001


def test_every_choice_is_drawn_and_on_both_sides() -> None:
    """Also where a user has more choices than the window holds."""
    index = plenty(2, choices=60)
    sampler = wide(index, max_context=3, targets=3, seed=0)
    assert sampler.window < 60
    seen: dict[str, set[int]] = {"context": set(), "target": set()}
    for step in range(400):
        episode = sampler.sample(torch.arange(2), step)
        for side in seen:
            batch = getattr(episode, side)
            seen[side] |= set(batch.vectors[batch.weight > 0][:, 0, 0].int().tolist())
    assert len(seen["context"]) == len(seen["target"]) == 120


def test_the_sides_are_even() -> None:
    """A group falls on either side equally often: half of the window is eligible for each, on average."""
    sampler = wide(plenty(400, choices=10), max_context=0, targets=10, seed=0)
    targets = torch.stack([(sampler.sample(torch.arange(400), s).target.weight > 0).sum(1) for s in range(5)])
    assert targets.double().mean().item() == pytest.approx(5, abs=0.2)  # sd of the mean 0.035
    assert targets.double().var().item() == pytest.approx(2.5, abs=0.3)  # a coin per group, not one for all


def test_fixed_by_seed_and_step_and_fresh_otherwise() -> None:
    index, users = plenty(6), torch.arange(6)
    first = wide(index, max_context=5, targets=5, seed=3)
    assert same(first.sample(users, 7), wide(index, max_context=5, targets=5, seed=3).sample(users, 7))
    assert not same(first.sample(users, 7), first.sample(users, 8))
    assert not same(first.sample(users, 7), wide(index, max_context=5, targets=5, seed=4).sample(users, 7))


def test_drawing_leaves_the_global_random_state_alone() -> None:
    before = torch.random.get_rng_state()
    sampler = wide(plenty(6), max_context=5, targets=5, seed=3)
    sampler.sample(sampler.users_of_step(0, 4), 0)
    assert torch.equal(torch.random.get_rng_state(), before)


@settings(max_examples=60)
@given(users=st.integers(1, 12), batch=st.integers(1, 15), seed=st.integers(0, 5))
def test_every_user_once_per_epoch(users: int, batch: int, seed: int) -> None:
    sampler = sampler_of(plenty(users, 1), seed=seed)
    stream = torch.cat([sampler.users_of_step(step, batch) for step in range(3 * users)])
    assert sampler.users_of_step(0, batch).shape == (min(users, batch),)
    for epoch in range(len(stream) // users):
        assert sorted(stream[epoch * users : (epoch + 1) * users].tolist()) == list(range(users))


def test_epochs_are_shuffled_anew() -> None:
    sampler = sampler_of(plenty(12, 1))
    first, second = sampler.users_of_step(0, 12), sampler.users_of_step(1, 12)
    assert first.tolist() != second.tolist()
    assert first.tolist() != list(range(12))


def test_users_without_choices_bring_nothing() -> None:
    busy = plenty(2, 10)
    index = ChoiceIndex.build(
        torch.tensor([1]).repeat(20), busy.items, busy.rank, busy.group, n_users=3
    )  # users 0 and 2 have none
    episode = wide(index, max_context=2, targets=2, seed=0).sample(torch.tensor([0, 1, 2, 0]), 3)
    for batch in (episode.context, episode.target):
        assert batch.weight[[0, 2, 3]].sum() == 0
    assert episode.target.weight[1].sum() > 0


def test_nobody_has_a_choice() -> None:
    none = torch.zeros(0, 2, dtype=torch.int64)
    index = ChoiceIndex.build(torch.zeros(0, dtype=torch.int64), none, none, none, n_users=3)
    episode = sampler_of(index).sample(torch.arange(3), 0)
    assert episode.context.weight.sum() == episode.target.weight.sum() == 0


def test_weights_are_carried() -> None:
    index = plenty(1, 20)
    weighted = ChoiceIndex.build(
        index.user, index.items, index.rank, index.group, n_users=1, weight=1 + torch.arange(20.0)
    )
    batch = wide(weighted, max_context=0, targets=20, seed=0).sample(torch.tensor([0]), 0).target
    real = batch.weight[0] > 0
    assert torch.equal(batch.weight[0][real], 1 + batch.vectors[0, real, 0, 0] / 2)


# -- in time -----------------------------------------------------------------------------------------------------------


def timed(users: int, choices: int, *, unknown: float = 0.0, seed: int = 0) -> ChoiceIndex:
    """`plenty`, each choice at a whole second of the first twelve, so that some coincide, or at no known time."""
    index, g = plenty(users, choices), torch.Generator().manual_seed(seed)
    time = torch.randint(12, (len(index),), generator=g).double()
    time[torch.rand(len(index), generator=g) < unknown] = torch.nan
    return ChoiceIndex.build(index.user, index.items, index.rank, index.group, n_users=users, timestamp=time)


def test_in_time_contexts_come_before_targets() -> None:
    sampler = wide(timed(30, 20), max_context=6, targets=6, seed=0, in_time=True)
    compared = 0
    for step in range(30):
        episode = sampler.sample(torch.arange(30), step)
        assert episode.context.timestamp is not None
        assert episode.target.timestamp is not None
        latest = episode.context.timestamp.masked_fill(episode.context.weight == 0, -torch.inf).amax(1)
        earliest = episode.target.timestamp.masked_fill(episode.target.weight == 0, torch.inf).amin(1)
        assert bool((latest <= earliest).all())
        compared += int((latest.isfinite() & earliest.isfinite()).sum())
    assert compared > 400, "hardly an episode has both sides"


def test_in_time_every_choice_is_drawn_on_both_sides() -> None:
    """The cut falls everywhere: also the first choices are asked for, and also the last ones are known."""
    index = timed(2, 20)
    sampler = wide(index, max_context=6, targets=6, seed=0, in_time=True)
    seen: dict[str, set[int]] = {"context": set(), "target": set()}
    for step in range(600):
        episode = sampler.sample(torch.arange(2), step)
        for side in seen:
            batch = getattr(episode, side)
            row = batch.vectors[..., 0, 0].long() // 2
            real = batch.weight > 0
            assert torch.equal(batch.timestamp[real], index.timestamp[row[real]]), "a time of another choice"
            seen[side] |= set(row[real].tolist())
    assert len(seen["context"]) == len(seen["target"]) == 40


def test_in_time_choices_without_a_time_are_left_out() -> None:
    sampler = wide(timed(30, 20, unknown=0.4), max_context=6, targets=6, seed=0, in_time=True)
    drawn = 0
    for step in range(10):
        episode = sampler.sample(torch.arange(30), step)
        assert episode.timestamp is not None
        real = episode.weight > 0
        assert bool(episode.timestamp[real].isfinite().all())
        drawn += int(real.sum())
    assert drawn > 500
    nobody = wide(timed(30, 20, unknown=1.0), max_context=6, targets=6, seed=0, in_time=True)
    assert nobody.sample(torch.arange(30), 0).weight.sum() == 0


def test_otherwise_times_change_nothing() -> None:
    plain, users = wide(plenty(6), max_context=5, targets=5, seed=3).sample(torch.arange(6), 7), torch.arange(6)
    for seed in (0, 1):
        other = wide(timed(6, 200, unknown=0.2, seed=seed), max_context=5, targets=5, seed=3).sample(users, 7)
        assert same(plain, other)
        assert other.timestamp is None
