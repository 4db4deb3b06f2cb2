"""Dividing a batch into forwards of like length, against every division there is."""

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit.policies.steered_pairs import OVERHEAD, length_groups

LENGTHS = st.lists(st.integers(1, 30), min_size=1, max_size=7)


def cost(groups: Sequence[Sequence[int]], lengths: Sequence[int], overhead: int) -> int:
    return sum(len(group) * max(lengths[row] for row in group) + overhead for group in groups)


def divisions(rows: Sequence[int]) -> Iterator[list[list[int]]]:
    """All partitions of some rows, whether or not they cut the order of lengths into runs."""
    if not rows:
        yield []
        return
    first, *others = rows
    for division in divisions(others):
        yield [[first], *division]
        for at, group in enumerate(division):
            yield [*division[:at], [first, *group], *division[at + 1 :]]


@settings(max_examples=60)
@given(lengths=LENGTHS, overhead=st.integers(0, 60))
def test_no_division_costs_less(lengths: list[int], overhead: int) -> None:
    found = cost(length_groups(lengths, overhead), lengths, overhead)
    assert found == min(cost(division, lengths, overhead) for division in divisions(range(len(lengths))))


@given(lengths=st.lists(st.integers(1, 500), max_size=40), overhead=st.integers(0, 500))
def test_every_row_is_in_one_group_and_short_rows_come_first(lengths: list[int], overhead: int) -> None:
    groups = length_groups(lengths, overhead)
    assert sorted(row for group in groups for row in group) == list(range(len(lengths)))
    assert all(groups)
    in_order = [lengths[row] for group in groups for row in group]
    assert in_order == sorted(in_order)


def test_rows_much_longer_than_the_others_go_apart() -> None:
    assert length_groups([10, 400, 12, 390]) == [[0, 2], [3, 1]]


@pytest.mark.parametrize("lengths", [[7] * 12, [3, 5, 9, 30], [1]], ids=str)
def test_one_group_where_another_forward_costs_more_than_padding(lengths: list[int]) -> None:
    assert len(length_groups(lengths, overhead=1000)) == 1
    assert max(lengths) * len(lengths) < 1000 + OVERHEAD


def test_without_overhead_no_group_is_padded() -> None:
    lengths = [5, 3, 5, 9, 3]
    assert all(len({lengths[row] for row in group}) == 1 for group in length_groups(lengths, overhead=0))


def test_rows_of_one_length_keep_their_order() -> None:
    lengths = [9, 3, 9, 3, 60, 9]
    assert [row for group in length_groups(lengths) for row in group] == [1, 3, 0, 2, 5, 4]
