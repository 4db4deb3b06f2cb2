"""`ChoiceBatch`: shapes are checked, views say the same choices."""

import pytest
import torch

from tacit.episodes import ChoiceBatch
from tacit.errors import ChoiceError


def full() -> ChoiceBatch:
    g = torch.Generator().manual_seed(0)
    keys = tuple(tuple(f"{10 * u + c:016x}" for c in range(4)) for u in range(3))
    time = torch.arange(12.0, dtype=torch.float64).reshape(3, 4)
    rank = torch.tensor([0, 1, -1]).expand(3, 4, 3)
    return ChoiceBatch(torch.randn(3, 4, 3, 5, generator=g), rank, torch.rand(3, 4, generator=g), time, keys)


def test_pairs_put_the_chosen_first() -> None:
    chosen, rejected = torch.ones(2, 3, 4), torch.zeros(2, 3, 4)
    batch = ChoiceBatch.pairs(chosen, rejected)
    assert torch.equal(batch.vectors[:, :, 0], chosen)
    assert torch.equal(batch.vectors[:, :, 1], rejected)
    assert batch.rank[1, 2].tolist() == [0, 1]
    assert batch.weight.tolist() == [[1.0] * 3] * 2
    assert (batch.n_users, batch.n_choices) == (2, 3)


def test_first_k_is_nested_and_keeps_keys_and_times() -> None:
    batch = full()
    two = batch.first(2)
    assert torch.equal(two.vectors, batch.vectors[:, :2])
    assert torch.equal(two.timestamp, batch.timestamp[:, :2])
    assert two.keys == tuple(ks[:2] for ks in batch.keys)
    assert two.first(1).keys == batch.first(1).keys
    assert batch.first(0).n_choices == 0


def test_users_are_picked_in_order() -> None:
    batch, order = full(), torch.tensor([2, 0, 2])
    picked = batch.of_users(order)
    for name in ("vectors", "rank", "weight", "timestamp"):
        assert torch.equal(getattr(picked, name), getattr(batch, name)[order])
    assert picked.keys == (batch.keys[2], batch.keys[0], batch.keys[2])


def test_to_keeps_everything() -> None:
    batch = full().to("cpu")
    assert batch.keys == full().keys
    assert torch.equal(batch.timestamp, full().timestamp)


def test_empty_brings_nothing() -> None:
    batch = ChoiceBatch.empty(3, 5)
    assert (batch.n_users, batch.n_choices, batch.vectors.shape[-1]) == (3, 0, 5)


@pytest.mark.parametrize(
    ("vectors", "rank", "weight"),
    [
        ((3, 4, 2), (3, 4, 2), (3, 4)),
        ((3, 4, 2, 5), (3, 4, 3), (3, 4)),
        ((3, 4, 2, 5), (3, 4, 2), (3, 5)),
        ((3, 4, 2, 5), (3, 4, 2), (3,)),
    ],
)
def test_shapes_that_do_not_fit_are_refused(vectors: tuple, rank: tuple, weight: tuple) -> None:
    with pytest.raises(ChoiceError, match="expected vectors"):
        ChoiceBatch(torch.zeros(vectors), torch.zeros(rank, dtype=torch.int64), torch.ones(weight))
