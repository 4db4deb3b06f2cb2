"""SPL: the flow's determinant, the bounds of FiLM, the guide at hand-made means, and a trained model."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal
from torch.testing import assert_close

from tacit.baselines.pairs import Pairs, pairs_of
from tacit.baselines.spl import SPL, FiLMDecoder, InverseAutoregressiveFlow, SPLConfig, SPLNetwork, guide
from tacit.baselines.vpl import LATENT
from tacit.choices import ChoiceIndex
from tacit.episodes import ChoiceBatch
from tacit.episodes.episode import Episode
from tacit.testing import SavedModelConformance
from tacit.testing.samples import random_choices, seeded_module
from tacit.training import TrainingConfig
from tacit.training.config import ObjectiveConfig


def moved_network(dim: int, seed: int, **config: Any) -> SPLNetwork:
    """An untrained network, every weight of it off its start."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        network = SPLNetwork(dim, SPLConfig(**config))
        network.standardizer.fit(0.5 + 2 * torch.randn(50, dim))
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return network.eval()


class TestSPL(SavedModelConformance):
    def make(self, seed: int) -> SPL:
        return SPL(moved_network(self.dim, seed), temperature=0.8)


class TestSPLOfOneNumber(SavedModelConformance):
    dim = 1

    def make(self, seed: int) -> SPL:
        return SPL(moved_network(self.dim, seed), temperature=1.3)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("steps", [0, 1, 2, 3])
def test_the_flows_determinant_is_that_of_its_jacobian(steps: int) -> None:
    flow = seeded_module(lambda: InverseAutoregressiveFlow(6, steps))
    z, turned, kept = random(6), random(3, seed=1), random(3, seed=2)
    jacobian = torch.autograd.functional.jacobian(lambda x: flow(x, turned, kept)[0], z)
    _, log_det = flow(z, turned, kept)
    assert_close(log_det, torch.linalg.slogdet(jacobian).logabsdet)
    assert (log_det.abs() > 1e-3) == (steps > 0)


def test_one_step_is_triangular_and_depends_on_all_that_comes_before() -> None:
    flow = seeded_module(lambda: InverseAutoregressiveFlow(6, 1))
    jacobian = torch.autograd.functional.jacobian(lambda x: flow(x, random(3), random(3, seed=2))[0], random(6)).flip(0)
    assert torch.equal(jacobian, jacobian.tril())
    assert (jacobian.tril()[torch.tril_indices(6, 6).unbind()] != 0).all()


def test_the_context_reaches_every_dimension_and_only_the_turned_one_shifts() -> None:
    flow, z = seeded_module(lambda: InverseAutoregressiveFlow(6, 1)), 0.1 * random(6)
    turned, kept = 0.1 * random(3), 0.1 * random(3, seed=2)  # away from the bounds
    before, log_det = flow(z, turned, kept)
    shifted, same_det = flow(z, turned + 0.01, kept)
    assert ((shifted - before).abs() > 1e-9).all()
    assert_close(same_det, log_det)
    assert (flow(z, turned, kept + 0.01)[1] - log_det).abs() > 1e-6


def test_film_keeps_its_bounds_and_uses_them() -> None:
    decoder = seeded_module(lambda: FiLMDecoder(3, 0.0))
    gamma, delta = decoder.modulation(100 * random(500, LATENT))
    assert gamma.min() >= 0.5
    assert gamma.max() <= 1.5
    assert delta.abs().max() <= 0.5
    assert gamma.max() - gamma.min() > 0.9
    with torch.no_grad():
        for parameter in decoder.film.parameters():
            parameter.zero_()
    gamma, delta = decoder.modulation(random(2, LATENT))
    assert (gamma == 1).all()
    assert (delta == 0).all()


HALF = math.sqrt(0.5)


@pytest.mark.parametrize(
    ("mean", "log_variance", "expected"),
    [
        pytest.param([-2.0, 0.0], [3.0, 0.0], 0.0, id="turned"),
        pytest.param([5.0, 0.0], [1.0, 0.0], 1.0, id="not-turned"),
        pytest.param([0.0, 1.0], [1.0, 0.0], 0.5, id="turned-half"),
        pytest.param([-1.0, 0.0], [-1.0, 0.0], 0.2, id="variance-turned"),
        pytest.param([1.0, 1.0], [1.0, 1.0], 0.5 * (1 + HALF) + 0.1 * (1 - HALF), id="diagonal"),
    ],
)
def test_the_guide_wants_means_turned_and_variances_kept(
    mean: list[float], log_variance: list[float], expected: float
) -> None:
    own = {"mean": torch.tensor([[1.0, 0.0]]), "log_variance": torch.tensor([[1.0, 0.0]])}
    swapped = {"mean": torch.tensor([mean]), "log_variance": torch.tensor([log_variance])}
    assert_close(guide(own, swapped, eta=0.2), torch.tensor([expected]))


def test_a_swapped_annotator_turns_one_context_and_keeps_the_other() -> None:
    network, pairs = moved_network(4, 0), pairs_of(random_choices(3, 5, 4, dtype=torch.float32))
    own, swapped = network.adapt(pairs), network.adapt(Pairs(pairs.loser, pairs.winner, pairs.weight))
    assert_close(swapped["turned"], -own["turned"])
    assert_close(swapped["kept"], own["kept"])
    assert (own["turned"].abs().amax(-1) > 1e-3).all()


@torch.no_grad()
def test_the_kl_is_the_log_ratio_of_the_densities_at_the_draw() -> None:
    network, noise = moved_network(4, 0).double(), random(3, LATENT, seed=5)
    fitted = network.adapt(pairs_of(random_choices(3, 5, 4)))
    scale = (fitted["log_variance"] / 2).exp()
    start = fitted["mean"] + scale * noise
    end, log_det = network.flow(start, fitted["turned"], fitted["kept"])
    expected = Normal(fitted["mean"], scale).log_prob(start).sum(-1) - log_det - Normal(0, 1).log_prob(end).sum(-1)
    z, kl = network.draw(fitted, noise)
    assert_close(z, end)
    assert_close(kl, expected)


@torch.no_grad()
def test_without_choices_z_is_the_prior() -> None:
    network, noise = moved_network(4, 0), torch.randn(3, LATENT, generator=torch.Generator().manual_seed(5))
    z, kl = network.draw(network.posterior(ChoiceBatch.empty(3, 4)), noise)
    assert torch.equal(z, noise)
    assert torch.equal(kl, torch.zeros(3))


def loss_of(network: SPLNetwork, choices: int = 5) -> Tensor:
    context = random_choices(6, choices, 4, dtype=torch.float32)
    episode = Episode.of(context, random_choices(6, 5, 4, seed=1, dtype=torch.float32))
    return network.loss(episode, ObjectiveConfig(), torch.Generator().manual_seed(3))


def test_the_guide_is_part_of_the_loss_and_moves_no_swapped_encoding() -> None:
    plain, guided = (
        moved_network(4, 0, guide_weight=0.0, kl_weight=0.0),
        moved_network(4, 0, guide_weight=1.0, kl_weight=0.0),
    )
    pairs = pairs_of(random_choices(6, 5, 4, dtype=torch.float32))
    own, swapped = plain.adapt(pairs), plain.adapt(Pairs(pairs.loser, pairs.winner, pairs.weight))
    added = guide(own, {name: value.detach() for name, value in swapped.items()}, eta=0.1).mean()
    assert added > 1e-3
    assert_close(loss_of(guided), loss_of(plain) + added)
    (expected,) = torch.autograd.grad(loss_of(plain) + added, [plain.encoder.gaussian.weight])
    (found,) = torch.autograd.grad(loss_of(guided), [guided.encoder.gaussian.weight])
    assert_close(found, expected)
    assert torch.equal(loss_of(guided, choices=0), loss_of(plain, choices=0))  # nobody to guide


def test_the_first_nat_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """With means and variances near the prior's and no flow, the KL has no gradient."""
    monkeypatch.setattr("tacit.baselines.spl.FLOW_STEPS", 0)
    network = moved_network(4, 0, kl_weight=1.0, guide_weight=0.0)
    with torch.no_grad():
        network.encoder.gaussian.weight.mul_(1e-3)
        network.encoder.gaussian.bias.zero_()
    other = moved_network(4, 0, kl_weight=0.0, guide_weight=0.0)
    other.load_state_dict(network.state_dict())
    assert_close(loss_of(network), loss_of(other) + 0.1)  # one nat at the start of annealing
    gradients = [torch.autograd.grad(loss_of(each), [each.encoder.gaussian.weight])[0] for each in (network, other)]
    assert_close(*gradients)


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
    """Accuracy rises with k, is chance without choices and no better with another user's."""
    index, pair = users(260, seed=0)
    training = TrainingConfig(
        steps=300, users_per_batch=32, max_context=10, targets=10, learning_rate=5e-3, validate_every=50,
        threads=1, device="cpu",
    )  # fmt: skip
    model = SPL.fit(
        index.of_users(torch.arange(200)), pair.flatten(0, 2), validation=index.of_users(torch.arange(200, 260)),
        training=training,
    )  # fmt: skip
    assert model.name == "spl"
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
