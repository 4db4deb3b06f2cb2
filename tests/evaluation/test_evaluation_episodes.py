"""Who is asked what: sides, fixed targets, nested contexts."""

from itertools import combinations

import pytest
import torch
from evaluation_fakes import ragged, world
from hypothesis import given
from hypothesis import strategies as st

from tacit.choices import ChoiceIndex
from tacit.errors import ChoiceError, ConfigError
from tacit.evaluation import evaluation_episodes
from tacit.evaluation.episodes import target_side

seeds = st.integers(0, 10_000)


def groups_of_items(index: ChoiceIndex) -> dict[int, int]:
    real = index.rank >= 0
    return dict(zip(index.items[real].tolist(), index.group[real].tolist(), strict=True))


@given(seeds, seeds)
def test_no_target_group_of_anyone_is_in_a_context_of_anyone(data: int, seed: int) -> None:
    index = ragged(data)
    episodes = evaluation_episodes(index, max_k=8, seed=seed)
    rows = episodes.context[episodes.context >= 0]
    on_context = set(index.group[rows].flatten().tolist())
    group = groups_of_items(index)
    on_target = {group[item] for item in episodes.targets[episodes.real].flatten().tolist()}
    assert on_target.isdisjoint(on_context)
    assert (index.user[episodes.context] == episodes.users[:, None])[episodes.context >= 0].all()


@given(seeds, seeds)
def test_targets_are_strict_pairs_of_the_user_without_repeats(data: int, seed: int) -> None:
    index = ragged(data)
    episodes = evaluation_episodes(index, max_k=3, max_targets=7, seed=seed)
    assert int(episodes.n_targets.max()) <= 7
    assert (episodes.n_targets > 0).all()
    ordered = {u: [] for u in range(index.n_users)}
    for user, items, rank in zip(index.user.tolist(), index.items.tolist(), index.rank.tolist(), strict=True):
        slots = [(r, item) for r, item in zip(rank, items, strict=True) if r >= 0]
        ordered[user] += [(i, j) for r, i in slots for s, j in slots if r < s]
    for user, targets, n in zip(
        episodes.users.tolist(), episodes.targets.tolist(), episodes.n_targets.tolist(), strict=True
    ):
        available = list(ordered[user])
        for pair in targets[:n]:
            available.remove(tuple(pair))  # raises when it was never strict, or is asked more often than chosen


@given(seeds, seeds)
def test_what_is_counted_agrees_with_a_naive_count(data: int, seed: int) -> None:
    index = ragged(data)
    target = target_side(torch.arange(200), None, 0.5, seed)
    episodes = evaluation_episodes(index, max_k=50, max_targets=1000, seed=seed)
    crossing = ties = 0
    context, pairs = [0] * index.n_users, [0] * index.n_users
    for user, groups, rank in zip(index.user.tolist(), index.group.tolist(), index.rank.tolist(), strict=True):
        ranks = [r for r in rank if r >= 0]
        on_target = {bool(target[g]) for g in groups}
        crossing += len(on_target) == 2
        context[user] += on_target == {False}
        if on_target == {True}:
            equal = sum(r == s for r, s in combinations(ranks, 2))
            ties += equal
            pairs[user] += len(ranks) * (len(ranks) - 1) // 2 - equal
    assert (episodes.crossing, episodes.ties) == (crossing, ties)
    assert episodes.users.tolist() == [u for u, n in enumerate(pairs) if n]
    assert episodes.n_targets.tolist() == [n for n in pairs if n]
    assert episodes.n_context.tolist() == [context[u] for u in episodes.users.tolist()]
    assert episodes.without_target == int((index.counts > 0).sum()) - len(episodes.users)


@given(seeds, st.lists(st.integers(0, 11), min_size=3, unique=True))
def test_an_episode_does_not_depend_on_who_else_is_evaluated(data: int, chosen: list[int]) -> None:
    index = ragged(data)
    every = evaluation_episodes(index, max_k=5)
    try:
        some = evaluation_episodes(index.of_users(torch.tensor(chosen)), max_k=5)
    except ChoiceError:
        assert not set(every.users.tolist()) & set(chosen)
        return
    place = {u: i for i, u in enumerate(every.users.tolist())}
    for i, user in enumerate(some.users.tolist()):
        j = place[chosen[user]]
        n = int(some.n_targets[i])
        assert n == int(every.n_targets[j])
        assert torch.equal(some.targets[i, :n], every.targets[j, :n])
        assert torch.equal(some.chosen_first[i, :n], every.chosen_first[j, :n])
        ours = some.context[i][some.context[i] >= 0]
        theirs = every.context[j][every.context[j] >= 0]
        assert torch.equal(some.index.row[ours], every.index.row[theirs])


def test_contexts_are_nested_and_a_longer_one_is_the_same_start() -> None:
    index = world(users=30).index
    short, long = evaluation_episodes(index, max_k=3), evaluation_episodes(index, max_k=15)
    assert torch.equal(short.context, long.context[:, :3])
    assert torch.equal(short.targets, long.targets)


def test_the_seed_decides() -> None:
    index = world(users=30).index
    a, b, c = (evaluation_episodes(index, max_k=5, seed=s) for s in (1, 1, 2))
    assert torch.equal(a.targets, b.targets)
    assert torch.equal(a.context, b.context)
    assert a.targets.shape != c.targets.shape or not torch.equal(a.targets, c.targets)


def test_given_target_groups_are_kept_to() -> None:
    index = world(users=30, prompts=100).index
    unseen = torch.arange(100) >= 70
    by_mask = evaluation_episodes(index, max_k=5, target_groups=unseen)
    by_rule = evaluation_episodes(index, max_k=5, target_groups=lambda group: group >= 70)
    assert torch.equal(by_mask.targets, by_rule.targets)
    assert (by_mask.targets[by_mask.real] // 2 >= 70).all()
    assert (index.group[by_mask.context[by_mask.context >= 0]] < 70).all()
    assert int(by_mask.n_context.sum()) == int((index.group[:, 0] < 70).sum())


def test_a_ranking_is_asked_as_all_its_strict_pairs() -> None:
    items = torch.tensor([[10, 11, 12, 13], [20, 21, 0, 0]])
    rank = torch.tensor([[0, 1, 1, 2], [0, 1, -1, -1]])
    group = torch.tensor([[1] * 4, [0] * 4])
    index = ChoiceIndex.build(torch.zeros(2, dtype=torch.int64), items, rank, group, n_users=1)
    episodes = evaluation_episodes(index, max_k=1, target_groups=torch.tensor([False, True]))
    pairs = {tuple(pair) for pair in episodes.targets[0].tolist()}
    assert pairs == {(10, 11), (10, 12), (10, 13), (11, 13), (12, 13)}
    assert episodes.ties == 1
    assert episodes.index.items[episodes.context[0, 0]].tolist() == [20, 21, 0, 0]


def test_choices_across_the_sides_are_dropped_and_counted() -> None:
    items = torch.tensor([[0, 1], [0, 2], [2, 3]])
    index = ChoiceIndex.build(torch.zeros(3, dtype=torch.int64), items, torch.tensor([[0, 1]] * 3), items, n_users=1)
    episodes = evaluation_episodes(index, max_k=3, target_groups=torch.tensor([False, False, True, True]))
    assert episodes.crossing == 1
    assert episodes.n_context.tolist() == [1]
    assert episodes.targets.tolist() == [[[2, 3]]]


def test_vectors_come_in_the_order_asked_and_short_contexts_are_padded() -> None:
    index, table = ragged(3), torch.randn(120, 5, generator=torch.Generator().manual_seed(0)).half()
    episodes = evaluation_episodes(index, max_k=6)
    rows = torch.arange(len(episodes.users))
    pairs = episodes.target_pairs(rows, table)
    chosen = torch.where(pairs.chosen_first.unsqueeze(-1), pairs.a, pairs.b)
    assert pairs.a.dtype == torch.float32
    assert torch.equal(chosen[pairs.real], table[episodes.targets[..., 0]].float()[pairs.real])
    assert 0.3 < pairs.chosen_first[pairs.real].float().mean() < 0.7
    batch = episodes.context_batch(rows, 6, table)
    assert torch.equal((batch.weight > 0).sum(1), episodes.n_context.clamp(max=6))
    assert batch.timestamp is None


def test_times_are_passed_on_where_anyone_has_one() -> None:
    w = world(users=4, choices=10)
    time = torch.arange(40, dtype=torch.float64)
    index = ChoiceIndex.build(w.index.user, w.index.items, w.index.rank, w.index.group, n_users=4, timestamp=time)
    episodes = evaluation_episodes(index, max_k=3)
    batch = episodes.context_batch(torch.arange(len(episodes.users)), 3, w.vectors)
    assert batch.timestamp is not None
    assert torch.equal(batch.timestamp[episodes.context >= 0], time[episodes.context[episodes.context >= 0]])


def test_nothing_to_ask_is_one_line() -> None:
    index = ChoiceIndex.build(
        torch.tensor([0, 0]), torch.tensor([[0, 1], [2, 3]]), torch.zeros(2, 2, dtype=torch.int64),
        torch.tensor([[0, 0], [1, 1]]), n_users=1,
    )  # fmt: skip
    with pytest.raises(ChoiceError, match=r"no user has a target.*1 tied pairs"):
        evaluation_episodes(index, max_k=1, target_groups=torch.tensor([False, True]))


@pytest.mark.parametrize(
    "setting", [{"max_k": -1}, {"max_k": 1, "max_targets": 0}, {"max_k": 1, "target_fraction": 1.0},
                {"max_k": 1, "target_groups": torch.ones(3, dtype=torch.bool)},
                {"max_k": 1, "target_groups": torch.ones(500)},
                {"max_k": 1, "target_groups": lambda group: group}],
)  # fmt: skip
def test_settings_out_of_range_are_refused(setting: dict) -> None:
    with pytest.raises(ConfigError):
        evaluation_episodes(world(users=3).index, **setting)
