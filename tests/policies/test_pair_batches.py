"""Batches of pairs: each pair once an epoch, like lengths together, the same steps however they are divided."""

from collections import Counter
from itertools import chain, islice

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tacit.policies.pairs import PairBatches

Batch = list[tuple[int, int]]


def lengths_of(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(4, 100, (count,), generator=torch.Generator().manual_seed(seed))


def batches(count: int, size: int, parts: int = 1, *, steps: int = 20, seed: int = 0) -> list[Batch]:
    return list(PairBatches(lengths_of(count), size, parts, steps, seed))


@given(
    count=st.integers(1, 60), each=st.integers(1, 5), parts=st.integers(1, 4), steps=st.integers(1, 30),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_steps_hold_the_same_pairs_however_they_are_divided(
    count: int, each: int, parts: int, steps: int, seed: int
) -> None:
    whole = batches(count, each * parts, 1, steps=steps, seed=seed)
    divided = batches(count, each * parts, parts, steps=steps, seed=seed)
    assert [len(batch) for batch in divided] == [each] * (steps * parts)
    assert len(PairBatches(lengths_of(count), each * parts, parts, steps, seed)) == len(divided)
    assert [list(chain(*divided[at : at + parts])) for at in range(0, len(divided), parts)] == whole


@given(count=st.integers(1, 60), size=st.integers(1, 20), seed=st.integers(0, 99))
def test_every_pair_comes_once_an_epoch_but_for_less_than_a_batch(count: int, size: int, seed: int) -> None:
    by_epoch: dict[int, Counter[int]] = {}
    for batch in batches(count, size, steps=40, seed=seed):
        by_epoch.setdefault(batch[0][0], Counter()).update(number for _, number in batch)
        assert len({epoch for epoch, _ in batch}) == 1
    assert list(by_epoch) == list(range(len(by_epoch)))
    *whole, _ = by_epoch.values()  # the last epoch may be cut by the number of steps
    for seen in whole:
        if count >= size:
            assert seen.total() == count // size * size
            assert max(seen.values()) == 1
        else:  # one batch, in which no pair is twice more than another
            assert seen.total() == size
            assert max(seen.values()) - min(seen[number] for number in range(count)) <= 1


def test_what_an_epoch_leaves_out_differs() -> None:
    left = []
    for epoch in range(5):
        seen = {number for batch in batches(23, 10, steps=10) for e, number in batch if e == epoch}
        left.append(frozenset(range(23)) - seen)
    assert {len(out) for out in left} == {3}
    assert len(set(left)) > 1


def test_like_lengths_stand_together() -> None:
    """Batches span much less than pairs at random would, and still are no sorted order."""
    lengths = lengths_of(640)
    spans = [float(lengths[[n for _, n in batch]].float().std()) for batch in batches(640, 16, steps=40)]
    assert max(spans) < 0.3 * float(lengths.float().std())
    means = torch.tensor([float(lengths[[n for _, n in batch]].float().mean()) for batch in batches(640, 16, steps=40)])
    assert abs(torch.corrcoef(torch.stack([means, torch.arange(40.0)]))[0, 1]) < 0.5, "short ones first"


def test_batches_are_fixed_by_the_seed_and_shuffled_anew_every_epoch() -> None:
    assert batches(40, 8) == batches(40, 8)
    assert batches(40, 8) != batches(40, 8, seed=1)
    first, second = ([n for _, n in chain(*batches(40, 8)[at : at + 5])] for at in (0, 5))
    assert sorted(first) == sorted(second) == list(range(40))
    assert first != second


def test_more_steps_only_go_on() -> None:
    """So a run that is resumed, or trained longer, meets the same pairs at the same step."""
    assert batches(23, 6, 2, steps=7) == list(islice(batches(23, 6, 2, steps=50), 14))


@pytest.mark.parametrize(("count", "size"), [(1, 6), (3, 8), (5, 8)])
def test_fewer_pairs_than_a_batch_are_repeated_to_fill_it(count: int, size: int) -> None:
    for epoch, batch in enumerate(batches(count, size, steps=5)):
        assert len(batch) == size
        assert {e for e, _ in batch} == {epoch}
        assert {number for _, number in batch} == set(range(count))


def test_batching_leaves_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    batches(40, 8)
    assert torch.equal(torch.get_rng_state(), before)
