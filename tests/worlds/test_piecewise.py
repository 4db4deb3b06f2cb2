"""The paper's 1-D world: rewards, noise-free choices, disjoint pools, and the Bayes-optimal line."""

import pytest
import torch

from tacit.worlds.piecewise import PiecewiseWorld, bayes_optimal_accuracy, piecewise_reward

SMALL = {"pairs": 1000, "users": (40, 10, 20), "choices": (20, 10, 30)}


@pytest.fixture(scope="module")
def world() -> PiecewiseWorld:
    return PiecewiseWorld.generate(0, **SMALL)


def test_rewards_are_those_of_the_paper() -> None:
    y = torch.tensor([0.2, 0.5, 0.8])
    torch.testing.assert_close(piecewise_reward(y, torch.tensor(0)), torch.tensor([0.2, 1.0, 1.6]))
    torch.testing.assert_close(piecewise_reward(y, torch.tensor(1)), torch.tensor([0.2, 0.5, 0.2]))


def test_every_choice_follows_the_reward_of_its_user(world: PiecewiseWorld) -> None:
    for part in (world.train, world.validation, world.test):
        y = world.vectors[part.index.items].squeeze(-1)
        kind = part.kind[part.index.user]
        reward = piecewise_reward(y, kind.unsqueeze(1))
        assert bool((reward[:, 0] >= reward[:, 1]).all())
        assert torch.equal(part.index.group[:, 0], part.index.items[:, 0] // 2)


def test_sizes_and_balance(world: PiecewiseWorld) -> None:
    parts = (world.train, world.validation, world.test)
    for part, users, choices in zip(parts, SMALL["users"], SMALL["choices"], strict=True):
        assert part.index.n_users == users
        assert part.index.counts.tolist() == [choices] * users
        assert part.kind.sum() == users // 2
        for user in range(users):
            mine = part.index.group[part.index.user == user, 0]
            assert len(mine.unique()) == choices, "a user asked the same pair twice"


def test_pools_are_disjoint(world: PiecewiseWorld) -> None:
    assert world.vectors.shape == (2000, 1)
    bounds = [(0, 1600), (1600, 1800), (1800, 2000)]
    for part, (low, high) in zip((world.train, world.validation, world.test), bounds, strict=True):
        assert low <= part.index.items.min() <= part.index.items.max() < high


def test_disagreement_is_the_share_of_the_pool(world: PiecewiseWorld) -> None:
    pair = world.vectors[:1600].reshape(-1, 2)
    first_wins = [piecewise_reward(pair, torch.tensor(kind)).diff(dim=1) < 0 for kind in (0, 1)]
    assert world.train.disagreement == pytest.approx((first_wins[0] != first_wins[1]).double().mean().item())
    assert world.train.disagreement == pytest.approx(0.5, abs=0.06)


def test_same_seed_same_world_other_seed_other_world() -> None:
    a, b, c = (PiecewiseWorld.generate(seed, **SMALL) for seed in (1, 1, 2))
    assert torch.equal(a.vectors, b.vectors)
    assert torch.equal(a.test.index.items, b.test.index.items)
    assert not torch.equal(a.vectors, c.vectors)


def test_the_global_random_state_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    PiecewiseWorld.generate(0, **SMALL)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_bayes_line_by_simulation(world: PiecewiseWorld) -> None:
    """Ask k pairs of a pool, then guess one more: who knows the type guesses right, others toss on disputed pairs."""
    f = 0.3
    g = torch.Generator().manual_seed(0)
    for k in (0, 1, 3, 10):
        disputed = torch.rand(200_000, k + 1, generator=g) < f
        known = disputed[:, :k].any(1)
        toss = torch.rand(200_000, generator=g) < 0.5
        right = known | ~disputed[:, k] | toss
        assert right.double().mean().item() == pytest.approx(bayes_optimal_accuracy(f, k), abs=0.004)
    assert bayes_optimal_accuracy(0.49, 0) == pytest.approx(0.755)
