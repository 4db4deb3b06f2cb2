"""GPO: who attends to whom, exact masks, and a trained model that hears more the more it is told."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tacit.baselines.gpo import GPO, GPOConfig, GPONetwork
from tacit.baselines.pairs import Pairs, pairs_of
from tacit.choices import ChoiceIndex
from tacit.episodes import ChoiceBatch
from tacit.testing import SavedModelConformance
from tacit.testing.samples import random_choices
from tacit.training import TrainingConfig


def moved_network(dim: int, seed: int, **config: Any) -> GPONetwork:
    """An untrained network, every number of it off its start."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        network = GPONetwork(dim, GPOConfig(**config))
        network.standardizer.fit(0.5 + 2 * torch.randn(50, dim))
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return network.eval()


class TestGPO(SavedModelConformance):
    def make(self, seed: int) -> GPO:
        return GPO(moved_network(self.dim, seed), temperature=0.8)


class TestGPOOfOneLayer(SavedModelConformance):
    dim = 1

    def make(self, seed: int) -> GPO:
        return GPO(moved_network(self.dim, seed, layers=1), temperature=1.3)


def example() -> tuple[GPONetwork, Pairs, Tensor]:
    """A network of three layers, three users of five pairs, six items."""
    items = torch.randn(6, 4, generator=torch.Generator().manual_seed(9))
    pairs = pairs_of(random_choices(3, 5, 4, dtype=torch.float32))
    return moved_network(4, 0, layers=3), pairs, items


@torch.no_grad()
def test_targets_do_not_see_each_other() -> None:
    network, pairs, items = example()
    fitted = network.adapt(pairs)
    before = network.rewards(fitted, items)
    changed = items.clone()
    changed[2] = 50.0
    after = network.rewards(fitted, changed)
    others = torch.arange(6) != 2
    assert_close(after[:, others], before[:, others], rtol=1e-6, atol=1e-6)
    assert ((after[:, 2] - before[:, 2]).abs() > 1e-2).all()
    assert_close(network.rewards(fitted, items[4:5]), before[:, 4:5], rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_every_context_pair_reaches_every_target_of_its_user_only() -> None:
    network, pairs, items = example()
    before = network.rewards(network.adapt(pairs), items)
    winner = pairs.winner.clone()
    winner[1, 3] += 1.0
    after = network.rewards(network.adapt(Pairs(winner, pairs.loser, pairs.weight)), items)
    assert ((after[1] - before[1]).abs() > 1e-5).all()
    assert_close(after[[0, 2]], before[[0, 2]], rtol=1e-6, atol=1e-6)


@torch.no_grad()
def test_a_masked_pair_does_not_exist() -> None:
    """In the middle, with nonsense in its vectors: bit for bit the same as any other nonsense there."""
    network, pairs, items = example()
    weight = pairs.weight.clone()
    weight[:, 2] = 0
    winner = pairs.winner.clone()
    winner[:, 2] = 1000.0
    masked = network.rewards(network.adapt(Pairs(winner, pairs.loser, weight)), items)
    assert torch.equal(masked, network.rewards(network.adapt(Pairs(pairs.winner, pairs.loser, weight)), items))
    kept = [0, 1, 3, 4]
    without = network.adapt(Pairs(pairs.winner[:, kept], pairs.loser[:, kept], pairs.weight[:, kept]))
    assert_close(masked, network.rewards(without, items), rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_a_pair_of_weight_two_counts_like_two_pairs() -> None:
    network, pairs, items = example()
    weight = pairs.weight.clone()
    weight[:, 0] = 2
    heavy = network.adapt(Pairs(pairs.winner, pairs.loser, weight))
    again = [0, 0, 1, 2, 3, 4]
    twice = network.adapt(Pairs(pairs.winner[:, again], pairs.loser[:, again], pairs.weight[:, again]))
    assert_close(network.rewards(heavy, items), network.rewards(twice, items), rtol=1e-5, atol=1e-6)


def users(count: int, seed: int) -> tuple[ChoiceIndex, Tensor]:
    """Linear users in the plane, tastes in all directions, and their items: Float[users 30 2 2], winner first."""
    generator = torch.Generator().manual_seed(seed)
    taste = torch.randn(count, 2, 1, generator=generator)
    pair = torch.randn(count, 30, 2, 2, generator=generator)
    reward = pair @ taste.unsqueeze(1)
    pair = torch.where(reward[:, :, :1] >= reward[:, :, 1:], pair, pair.flip(2))
    number = torch.arange(30 * count)
    items = torch.stack([2 * number, 2 * number + 1], 1)
    rank, group = torch.tensor([0, 1]).expand_as(items), number.unsqueeze(1).expand_as(items)
    return ChoiceIndex.build(number // 30, items, rank, group, n_users=count), pair


def test_a_fit_hears_more_the_more_it_is_told() -> None:
    """Linear users in the plane: accuracy rises with k, is chance without choices and below it with another's."""
    index, pair = users(260, seed=0)
    training = TrainingConfig(
        steps=150, users_per_batch=32, max_context=10, targets=10, learning_rate=0.01, validate_every=50,
        threads=1, device="cpu",
    )  # fmt: skip
    model = GPO.fit(
        index.of_users(torch.arange(200)), pair.flatten(0, 2), validation=index.of_users(torch.arange(200, 260)),
        training=training,
    )  # fmt: skip
    _, test = users(100, seed=1)
    context, target = ChoiceBatch.pairs(test[:, :10, 0], test[:, :10, 1]), test[:, 10:]

    def accuracy(choices: ChoiceBatch) -> float:
        return (model.prefer(model.infer(choices), target[:, :, 0], target[:, :, 1]) > 0.5).float().mean().item()

    by_k = [accuracy(context.first(k)) for k in (0, 1, 3, 10)]
    assert by_k[0] == pytest.approx(0.5, abs=0.05)
    assert by_k == sorted(by_k)
    assert by_k[1] > 0.6
    assert by_k[3] > 0.8
    assert accuracy(context.of_users(torch.arange(100).roll(1))) < 0.6
