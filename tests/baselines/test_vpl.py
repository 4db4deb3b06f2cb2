"""VPL: the KL, the length of z, the annealing, and a trained model that hears more the more it is told."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence
from torch.testing import assert_close

from tacit.baselines.pairs import Pairs, pairs_of
from tacit.baselines.vpl import LATENT, VPL, VPLConfig, VPLNetwork, anneal, gaussian_kl, normalised
from tacit.choices import ChoiceIndex
from tacit.episodes import ChoiceBatch
from tacit.episodes.episode import Episode
from tacit.testing import SavedModelConformance
from tacit.testing.samples import random_choices
from tacit.training import TrainingConfig
from tacit.training.config import ObjectiveConfig


def moved_network(dim: int, seed: int, **config: Any) -> VPLNetwork:
    """An untrained network, every weight of it off its start."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        network = VPLNetwork(dim, VPLConfig(**config))
        network.standardizer.fit(0.5 + 2 * torch.randn(50, dim))
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return network.eval()


class TestVPL(SavedModelConformance):
    def make(self, seed: int) -> VPL:
        return VPL(moved_network(self.dim, seed), temperature=0.8)


class TestVPLOfOneNumber(SavedModelConformance):
    dim = 1

    def make(self, seed: int) -> VPL:
        return VPL(moved_network(self.dim, seed), temperature=1.3)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_kl_is_that_of_torch() -> None:
    mean, log_variance = random(5, 7), random(5, 7, seed=1)
    expected = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).sum(-1)
    assert_close(gaussian_kl(mean, log_variance), expected)
    network, pairs = moved_network(4, 0).double(), pairs_of(random_choices(3, 5, 4))
    fitted = network.adapt(pairs)
    _, kl = network.draw(fitted, random(3, LATENT))
    assert_close(kl, gaussian_kl(fitted["mean"], fitted["log_variance"]))
    assert (kl > 1e-3).all()


def test_z_has_the_length_of_a_typical_prior_draw() -> None:
    z = 1000 * random(4, 9)
    assert_close(normalised(z).norm(dim=-1), torch.full((4,), 3.0, dtype=torch.float64))
    assert_close(normalised(z) / z, (3 / z.norm(dim=-1, keepdim=True)).expand(4, 9))
    network = moved_network(4, 0)
    drawn, _ = network.draw(
        network.adapt(pairs_of(random_choices(3, 5, 4, dtype=torch.float32))), torch.randn(3, LATENT)
    )
    assert_close(drawn.norm(dim=-1), torch.full((3,), math.sqrt(LATENT)))


def test_annealing_is_half_a_cosine_again_and_again() -> None:
    factors = anneal(torch.arange(8), 4)
    half = 0.45 * math.sqrt(0.5)
    cycle = torch.tensor([0.1, 0.55 - half, 0.55, 0.55 + half])
    assert_close(factors, torch.cat([cycle, cycle]))


def episode_of(choices: int) -> Episode:
    context = random_choices(6, choices, 4, dtype=torch.float32)
    return Episode.of(context, random_choices(6, 5, 4, seed=1, dtype=torch.float32))


def loss_of(network: VPLNetwork, episode: Episode) -> Tensor:
    return network.loss(episode, ObjectiveConfig(), torch.Generator().manual_seed(3))


def test_the_loss_is_the_likelihood_of_one_draw_plus_the_annealed_kl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tacit.baselines.vpl.CYCLE", 4)
    network, episode = moved_network(4, 0, kl_weight=0.5), episode_of(5)
    fitted = network.posterior(episode.context)
    noise = torch.randn(6, LATENT, generator=torch.Generator().manual_seed(3))
    z = normalised(fitted["mean"] + (fitted["log_variance"] / 2).exp() * noise)
    reward = network.decoder(network.decoder.item(episode.target.vectors.flatten(1, 2)), z).unflatten(1, (5, 2))
    kl = gaussian_kl(fitted["mean"], fitted["log_variance"]).mean()
    likelihood = -(reward[..., 0] - reward[..., 1]).sigmoid().log().mean()
    network.train()
    for step in range(5):
        assert network.step == step
        expected = likelihood + 0.5 * anneal(torch.tensor(step), 4) * kl
        assert_close(loss_of(network, episode), expected)
    network.eval()
    loss_of(network, episode)
    assert network.step == 5  # only training counts


def test_without_choices_only_the_decoder_learns() -> None:
    """The posterior is the prior, so the KL is 0 and nothing of the encoder moves."""
    network = moved_network(4, 0, kl_weight=1.0)
    loss = loss_of(network, episode_of(0))
    assert torch.equal(loss, loss_of(moved_network(4, 0, kl_weight=0.0), episode_of(0)))
    loss.backward()
    for name, parameter in network.named_parameters():
        moved = parameter.grad is not None and bool(parameter.grad.abs().max() > 0)
        assert moved == name.startswith("decoder"), name


def test_a_pair_of_weight_two_counts_like_two_pairs() -> None:
    network, pairs = moved_network(4, 0), pairs_of(random_choices(3, 4, 4, dtype=torch.float32))
    heavy = Pairs(pairs.winner, pairs.loser, pairs.weight * torch.tensor([2.0, 1, 1, 1]))
    again = [0, 0, 1, 2, 3]
    twice = Pairs(pairs.winner[:, again], pairs.loser[:, again], pairs.weight[:, again])
    assert_close(network.adapt(heavy)["mean"], network.adapt(twice)["mean"])
    assert (network.adapt(heavy)["mean"] - network.adapt(pairs)["mean"]).abs().max() > 1e-3


def test_active_units_are_those_that_tell_users_apart() -> None:
    network, episode = moved_network(4, 0), episode_of(5)
    assert network.diagnose(episode)["active_units"] > 0
    with torch.no_grad():
        network.encoder.gaussian.weight.zero_()
    assert network.diagnose(episode) == {"active_units": 0.0}


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


TRAINING = TrainingConfig(
    steps=300, users_per_batch=32, max_context=10, targets=10, learning_rate=5e-3, validate_every=50,
    threads=1, device="cpu",
)  # fmt: skip


def test_a_fit_hears_more_the_more_it_is_told() -> None:
    """Accuracy rises with k, is chance without choices and no better with another user's."""
    index, pair = users(260, seed=0)
    model = VPL.fit(
        index.of_users(torch.arange(200)), pair.flatten(0, 2), validation=index.of_users(torch.arange(200, 260)),
        training=TRAINING,
    )  # fmt: skip
    assert model.notes["validation_active_units"] >= 2
    _, test = users(100, seed=1)
    context, target = ChoiceBatch.pairs(test[:, :10, 0], test[:, :10, 1]), test[:, 10:]

    def accuracy(choices: ChoiceBatch) -> float:
        return (model.prefer(model.infer(choices), target[:, :, 0], target[:, :, 1]) > 0.5).float().mean().item()

    by_k = [accuracy(context.first(k)) for k in (0, 1, 3, 10)]
    assert by_k[0] == pytest.approx(0.5, abs=0.07)
    assert by_k == sorted(by_k)
    assert by_k[3] > 0.75
    assert accuracy(context.of_users(torch.arange(100).roll(1))) < 0.6


def test_a_resumed_fit_anneals_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The count of steps is part of the checkpoint: cut and resumed is the same as never cut, bit for bit."""
    monkeypatch.setattr("tacit.baselines.vpl.CYCLE", 3)
    index, pair = users(12, seed=0)
    training = TRAINING.model_copy(update={"steps": 8, "validate_every": 2})
    settings: dict[str, Any] = {
        "validation": index.of_users(torch.arange(8, 12)),
        "config": VPLConfig(kl_weight=1.0), "training": training,
    }  # fmt: skip
    train = index.of_users(torch.arange(8)), pair.flatten(0, 2)
    whole = VPL.fit(*train, **settings)

    def cut(event: dict[str, Any]) -> None:
        if event["event"] == "step" and event["step"] == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        VPL.fit(*train, **settings, folder=tmp_path, on_event=cut)
    assert VPL.fit(*train, **settings, folder=tmp_path).fingerprint == whole.fingerprint
