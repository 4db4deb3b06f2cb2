"""`Episode`: items named once, sides read back, networks applied once per item, contexts aged as user states age."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tacit.choices import ChoiceIndex
from tacit.encoders import UserStates
from tacit.episodes import ChoiceBatch, Episode, EpisodeSampler
from tacit.testing import random_choices

ITEMS = 9


def busy(*, timed: bool = True) -> Episode:
    """Many users who rank two or three of the same few items; some of them bring fewer choices than there is room."""
    g = torch.Generator().manual_seed(0)
    n = 300
    items = torch.stack([torch.randperm(ITEMS, generator=g)[:3] for _ in range(n)])
    rank = torch.tensor([[0, 1, 2], [0, 1, -1], [0, 0, 1]])[torch.arange(n) % 3]
    user = torch.randint(40, (n,), generator=g)
    time = 1e9 + 1e6 * torch.rand(n, generator=g, dtype=torch.float64)
    weight = 0.5 + torch.rand(n, generator=g)
    index = ChoiceIndex.build(user, items, rank, items, n_users=40, weight=weight, timestamp=time)
    sampler = EpisodeSampler(index, torch.randn(ITEMS, 4, generator=g), 4, 3, seed=0, in_time=timed)
    return sampler.sample(torch.arange(40), 5)


def squash(items: Tensor) -> Tensor:
    """Something that looks at each item alone, to another width."""
    return torch.cat([items.square(), items.sum(-1, keepdim=True)], dim=-1).tanh()


@pytest.mark.parametrize("side", ["context", "target"])
def test_through_is_the_network_applied_to_either_side(side: str) -> None:
    episode = busy()
    before, after = getattr(episode, side), getattr(episode.through(squash), side)
    assert after.vectors.shape == (*before.rank.shape, 5)
    assert_close(after.vectors, squash(before.vectors))
    for name in ("rank", "weight", "timestamp"):
        assert torch.equal(getattr(after, name), getattr(before, name))


def test_the_network_sees_each_item_once() -> None:
    episode, rows = busy(), []
    both = episode.through(lambda items: rows.append(len(items)) or items)
    assert both.context.n_choices + both.target.n_choices == 7  # 40 users x 7 choices x 3 slots stand for 9 items
    assert len(rows) == 1
    assert rows[0] == len(episode.items.unique(dim=0)) <= ITEMS


def test_of_gives_back_both_batches() -> None:
    context, target = random_choices(3, 2, 4, slots=3), random_choices(3, 5, 4, slots=3, seed=1)
    users = torch.tensor([7, 0, 3])
    episode = Episode.of(context, target, users)
    for side, batch in (("context", context), ("target", target)):
        for name in ("vectors", "rank", "weight"):
            assert torch.equal(getattr(getattr(episode, side), name), getattr(batch, name))
    assert episode.users is users
    assert_close(episode.through(squash).target.vectors, squash(target.vectors))


def test_of_nothing_known_yet() -> None:
    target = random_choices(2, 3, 4, dtype=torch.float32)
    episode = Episode.of(ChoiceBatch.empty(2, 4), target)
    assert episode.context.vectors.shape == (2, 0, 2, 4)
    assert torch.equal(episode.target.vectors, target.vectors)
    assert episode.aged(1.0) is episode


def test_contexts_age_as_user_states_do() -> None:
    """The weights of a state at the user's latest choice; padding, whatever its time is, makes nothing older."""
    drawn, half_life = busy(), 3e5
    context, real = drawn.context, drawn.context.weight > 0
    assert context.timestamp is not None
    prior = UserStates.prior(40, 1, additive=False, fingerprint="", half_life=half_life, keyed=False)
    state = prior.add(torch.zeros(*context.weight.shape, 1), context.weight, context.timestamp)
    for padding in (float("nan"), 9e9):
        time = drawn.timestamp.masked_fill(drawn.weight == 0, padding)  # type: ignore[union-attr]
        episode = replace(drawn, timestamp=time)
        aged = episode.aged(half_life)
        assert_close(aged.context.weight.double(), state.weight, rtol=1e-5, atol=1e-7)
    assert (aged.context.weight < 0.9 * context.weight)[real].any()
    assert ((aged.context.weight == context.weight) & real).any(1).sum() == real.any(1).sum()  # the latest is not aged
    assert torch.equal(aged.target.weight, episode.target.weight)
    assert torch.equal(aged.context.vectors, context.vectors)


def test_without_a_half_life_or_times_nothing_ages() -> None:
    timed, untimed = busy(), busy(timed=False)
    assert timed.aged(None) is timed
    assert untimed.timestamp is None
    assert untimed.aged(10.0) is untimed


@pytest.mark.parametrize("timed", [True, False])
def test_to_moves_every_tensor(timed: bool) -> None:
    episode = busy(timed=timed)
    shape = episode.context.vectors.shape  # gathered before the move, and gathered again after it
    moved = episode.to("meta")
    assert moved.split == episode.split
    for name, value in vars(moved).items():
        if isinstance(value, Tensor):
            assert value.device.type == "meta", name
    assert (moved.timestamp is not None) == timed
    assert moved.users is not None
    assert moved.context.vectors.device.type == moved.target.weight.device.type == "meta"
    assert moved.context.vectors.shape == shape
