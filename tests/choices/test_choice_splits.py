import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tacit.choices import Choice, ChoiceTable, cut, split_groups, split_users
from tacit.errors import ChoiceError, ConfigError


@given(st.integers(3, 60), st.integers(0, 50))
def test_parts_cover_every_user_once_and_none_is_empty(n: int, seed: int) -> None:
    parts = split_users(n, seed=seed)
    assert torch.cat(parts).sort().values.tolist() == list(range(n))
    assert all(len(part) for part in parts)
    assert all((part.diff() > 0).all() for part in parts)


def test_adding_users_moves_nobody() -> None:
    ids = [f"user {i}" for i in range(500)]
    few, many = split_users(ids[:200], seed=3), split_users([*ids[200:], *ids[:200]], seed=3)
    for small, large in zip(few, many, strict=True):
        assert {ids[i] for i in small} <= {[*ids[200:], *ids[:200]][i] for i in large}


def test_shares_are_kept_and_seeds_differ() -> None:
    parts = split_users(20_000, (0.5, 0.3, 0.2), seed=1)
    np.testing.assert_allclose([len(part) / 20_000 for part in parts], [0.5, 0.3, 0.2], atol=0.02)
    assert not torch.equal(parts[0], split_users(20_000, (0.5, 0.3, 0.2), seed=2)[0])


def test_a_zero_share_stays_empty() -> None:
    train, none, test = split_users(5, (0.5, 0.0, 0.5))
    assert (len(none), len(train) + len(test)) == (0, 5)


def test_too_few_users_says_how_many_are_needed() -> None:
    with pytest.raises(ChoiceError, match="2 users cannot be split into 3 parts; expected at least 3 users"):
        split_users(2)


@pytest.mark.parametrize("fractions", [(0.5, 0.4), (1.5, -0.5), (), (float("nan"), 1.0)])
def test_wrong_fractions_are_refused(fractions: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="sum to 1"):
        split_users(10, fractions)


def prompts_table() -> ChoiceTable:
    return ChoiceTable.from_choices(Choice.pair(f"u{i % 7}", f"p{i % 40}", "a", f"b{i}") for i in range(400))


def poll_table() -> ChoiceTable:
    rng = np.random.default_rng(0)
    pairs = (rng.choice(30, 2, replace=False) for _ in range(300))
    return ChoiceTable.from_choices(
        Choice.pair(f"u{i % 9}", "agree?", f"s{a}", f"s{b}") for i, (a, b) in enumerate(pairs)
    )


def test_prompts_split_without_any_shared() -> None:
    table = prompts_table()
    train, test = split_groups(table, (0.7, 0.3), seed=0)
    left, right = cut(table, groups=train), cut(table, groups=test)
    assert (left.crossing, right.crossing) == (0, 0)
    assert len(left.table) + len(right.table) == len(table)
    assert not {c.prompt for c in left.table} & {c.prompt for c in right.table}


def test_items_split_where_there_is_one_prompt_and_crossings_are_counted() -> None:
    table = poll_table()
    train, test = split_groups(table, (0.5, 0.5), seed=0)
    left, right = cut(table, groups=train), cut(table, groups=test)
    texts = [{text for c in part.table for text in c.responses} for part in (left, right)]
    assert not texts[0] & texts[1]
    assert left.crossing == right.crossing == len(table) - len(left.table) - len(right.table) > 0
    # The numbers are those of the index, so parts can be checked against it too.
    assert np.isin(left.table.index().group.numpy(), train.numpy()).all()


def test_cut_by_user_and_group_is_the_intersection() -> None:
    table = prompts_table()
    users, groups = split_users(table, (0.5, 0.5))[1], split_groups(table, (0.5, 0.5))[0]
    part = cut(table, users, groups).table
    ids = {table.users[int(u)].as_py() for u in users}
    prompts = {table.prompts[int(g)].as_py() for g in groups}
    assert list(part) == [c for c in table if c.user_id in ids and c.prompt in prompts]
    assert part.n_users == len(users)


def test_padding_never_makes_a_ranking_cross() -> None:
    table = ChoiceTable.from_choices(
        [Choice("u", "p", ("a", "b"), (0, 1)), Choice("u", "p", ("c", "d", "e"), (0, 1, 2))]
    )
    group = torch.tensor([table.n_prompts + i for i in (0, 1)])
    kept, crossing = cut(table, groups=group)
    assert ([c.responses for c in kept], crossing) == ([("a", "b")], 0)
    rest = torch.tensor([table.n_prompts + i for i in (2, 3, 4)])
    kept, crossing = cut(table, groups=rest)
    assert ([c.responses for c in kept], crossing) == ([("c", "d", "e")], 0)


def test_one_prompt_can_not_be_split_by_prompt() -> None:
    with pytest.raises(ChoiceError, match="1 prompts cannot be split into 3 parts"):
        split_groups(poll_table(), by="prompt")
