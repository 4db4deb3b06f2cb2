"""PAL: planted prototypes, a new user's mixture against a search by hand, and a fit that hears who somebody is."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid
from torch.testing import assert_close

from tacit.baselines.pairs import Pairs
from tacit.baselines.pal import PAL, PALConfig, PALNetwork
from tacit.choices import ChoiceIndex
from tacit.episodes import ChoiceBatch, Episode
from tacit.errors import ChoiceError
from tacit.testing import SavedModelConformance
from tacit.testing.samples import random_choices
from tacit.training import ObjectiveConfig, TrainingConfig


def moved_network(dim: int, seed: int, **config: Any) -> PALNetwork:
    """An untrained network, every number of it off its start."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        network = PALNetwork(dim, PALConfig(**config), n_users=5)
        network.standardizer.fit(0.5 + 2 * torch.randn(50, dim))
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return network.eval()


class TestPAL(SavedModelConformance):
    def make(self, seed: int) -> PAL:
        return PAL(moved_network(self.dim, seed), temperature=0.8)


class TestPALOfThreePrototypes(SavedModelConformance):
    dim = 1

    def make(self, seed: int) -> PAL:
        return PAL(moved_network(self.dim, seed, prototypes=3), temperature=1.3)


def planted(scale: float = 4.0, *, steps: int | None = None, rate: float | None = None) -> PALNetwork:
    """f(y) = y in the plane, prototypes along the two axes."""
    network = PALNetwork(2, PALConfig(), n_users=2)
    network.steps, network.rate = steps or network.steps, rate or network.rate
    network.project = torch.nn.Sequential()
    network.prototypes = torch.nn.Parameter(torch.tensor([[2.0, 0.0], [0.0, 2.0]]))
    with torch.no_grad():
        network.log_scale.fill_(math.log(scale))
    return network.eval()


@torch.no_grad()
def test_the_score_is_a_scaled_cosine_to_the_mixture_of_prototypes() -> None:
    fitted = {"mixture": torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.8, 0.2]])}
    items = torch.tensor([[3.0, 0.0], [0.0, 5.0], [1.0, 1.0], [-2.0, 0.0]])
    diagonal, length = math.sqrt(0.5), math.hypot(0.8, 0.2)
    cosines = [
        [1, 0, diagonal, -1],
        [diagonal, diagonal, 1, -diagonal],
        [0.8 / length, 0.2 / length, diagonal / length, -0.8 / length],
    ]
    assert_close(planted().rewards(fitted, items), 4 * torch.tensor(cosines))


def loss_of(share: Tensor, pairs: Pairs, scale: float) -> Tensor:
    """Mean NLL of one user at every share of the first prototype: Float[shares]."""
    ideal = torch.stack([share, 1 - share], -1)
    ideal = ideal / ideal.norm(dim=-1, keepdim=True)
    unit = [side[0] / side[0].norm(dim=-1, keepdim=True) for side in (pairs.winner, pairs.loser)]
    return -logsigmoid(scale * ideal @ (unit[0] - unit[1]).T).mean(-1)


def choices_of(direction: Tensor, seed: int, pairs: int = 40) -> Pairs:
    """Noisy choices of users with ideal points Float[users 2]."""
    generator = torch.Generator().manual_seed(seed)
    items = torch.randn(len(direction), pairs, 2, 2, generator=generator)
    reward = 4 * (items / items.norm(dim=-1, keepdim=True) @ direction[:, None, :, None]).squeeze(-1)
    first = torch.rand(len(direction), pairs, generator=generator) < (reward[..., 0] - reward[..., 1]).sigmoid()
    a, b = items.unbind(2)
    winner, loser = torch.where(first[..., None], a, b), torch.where(first[..., None], b, a)
    return Pairs(winner, loser, torch.ones(len(direction), pairs))


def test_given_time_the_mixture_is_the_one_a_search_finds() -> None:
    angle = torch.tensor([0.35, 0.8, 1.2])
    pairs = choices_of(torch.stack([angle.cos(), angle.sin()], -1), seed=1)
    with torch.no_grad():
        found = planted(steps=500, rate=0.02).adapt(pairs)["mixture"]
    grid = torch.linspace(0.001, 0.999, 999)
    for user in range(3):
        own = Pairs(pairs.winner[user : user + 1], pairs.loser[user : user + 1], pairs.weight[user : user + 1])
        best = grid[loss_of(grid, own, 4.0).argmin()]
        assert 0.02 < best < 0.98
        assert found[user, 0].item() == pytest.approx(best.item(), abs=0.01)


def test_a_user_of_one_prototype_ends_in_its_corner() -> None:
    pairs = choices_of(torch.eye(2), seed=2, pairs=200)
    with torch.no_grad():
        found = planted(steps=400, rate=0.05).adapt(pairs)["mixture"]
    assert found[0, 0] > 0.9
    assert found[1, 1] > 0.9


def test_the_published_budget_moves_w_by_a_tenth_from_the_mean_of_training_users() -> None:
    network, pairs = planted(), choices_of(torch.eye(2), seed=3)
    with torch.no_grad():
        network.table.copy_(torch.tensor([[0.0, 1.0], [0.4, 3.0]]))
        stranger = network.adapt(Pairs(pairs.winner, pairs.loser, torch.zeros_like(pairs.weight)))["mixture"]
        told = network.adapt(pairs)["mixture"]
    assert_close(stranger, torch.tensor([[0.2, 2.0]]).softmax(-1).expand(2, -1))
    moved = (told.log().diff(dim=-1) - stranger.log().diff(dim=-1)).squeeze(-1)  # of w_2 - w_1, both ends together
    assert_close(moved, torch.tensor([-0.2, 0.2]), rtol=0, atol=0.02)


def test_episodes_must_say_whose_they_are() -> None:
    choices = random_choices(2, 3, 2, dtype=torch.float32)
    with pytest.raises(ChoiceError, match="row per training user"):
        planted().loss(Episode.of(choices, choices), ObjectiveConfig(), None)


def users(first: int, last: int) -> ChoiceIndex:
    """Users of two types: all like the first number of an item a little, and disagree on the second."""
    user = torch.arange(last - first).repeat_interleave(30)
    pair = VECTORS[60 * first : 60 * last].reshape(-1, 2, 2)
    gap = (pair[:, 0] - pair[:, 1]) @ torch.tensor([1.0, 0.0]) + 3 * (1.0 - 2.0 * (user % 2)) * (
        pair[:, 0, 1] - pair[:, 1, 1]
    )
    number = 30 * first + torch.arange(len(user))
    items = 2 * number.unsqueeze(1) + torch.stack([gap < 0, gap >= 0], 1).long()
    rank, group = torch.tensor([0, 1]).expand_as(items), number.unsqueeze(1).expand_as(items)
    return ChoiceIndex.build(user, items, rank, group, n_users=last - first)


VECTORS = torch.randn(60 * 60, 2, generator=torch.Generator().manual_seed(0))


def test_a_fit_tells_two_types_apart_by_their_choices_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accuracy with the own choices against none, and against those of a user of the other type."""
    training = TrainingConfig(
        steps=120, users_per_batch=36, max_context=10, targets=15, learning_rate=5e-3, validate_every=40,
        threads=1, device="cpu",
    )  # fmt: skip
    monkeypatch.setattr("tacit.baselines.pal.ADAPT_STEPS", 60)
    model = PAL.fit(users(0, 36), VECTORS, validation=users(36, 48), training=training)
    assert isinstance(model.network, PALNetwork)
    assert model.network.table.shape == (36, 2)
    test = VECTORS[users(48, 60).items].reshape(12, 30, 2, 2)
    context, target = ChoiceBatch.pairs(test[:, :10, 0], test[:, :10, 1]), test[:, 10:]

    def accuracy(choices: ChoiceBatch) -> float:
        return (model.prefer(model.infer(choices), target[:, :, 0], target[:, :, 1]) > 0.5).float().mean().item()

    nobody, own = accuracy(context.first(0)), accuracy(context)
    other = accuracy(context.of_users(torch.arange(12) ^ 1))
    assert own > nobody + 0.15
    assert own > 0.8
    assert other < nobody
