"""Pairwise GP: the contract; one user's posterior against BoTorch; curved tastes that no line shows."""

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tacit.baselines import PairwiseGP
from tacit.baselines.pairs import Pairs
from tacit.baselines.pairwise_gp import GPConfig, GPNetwork
from tacit.choices import ChoiceIndex
from tacit.episodes import ChoiceBatch, EpisodeSampler
from tacit.testing import SavedModelConformance
from tacit.training import ObjectiveConfig, TrainingConfig

TRAINING = TrainingConfig(
    steps=60, users_per_batch=20, max_context=10, targets=15, learning_rate=0.02, validate_every=30,
    threads=1, device="cpu",
)  # fmt: skip


def untrained(dim: int, seed: int, **settings: object) -> PairwiseGP:
    """A model with hyperparameters off their start."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        network = GPNetwork(dim, GPConfig.model_validate({"components": 3, **settings}))
        items = 0.5 + 2 * torch.randn(50, dim)
        network.standardizer.fit(items)
        network.fit_basis(network.standardizer(items))
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return PairwiseGP(network.eval(), temperature=0.8)


class TestPairwiseGP(SavedModelConformance):
    def make(self, seed: int) -> PairwiseGP:
        return untrained(self.dim, seed)


class TestPairwiseGPWithoutBase(SavedModelConformance):
    def make(self, seed: int) -> PairwiseGP:
        return untrained(self.dim, seed, base="zero")


def questions() -> tuple[Tensor, Tensor]:
    """12 items, and 9 choices between them: an item comes back, no pair does."""
    items = torch.randn(12, 4, generator=torch.Generator().manual_seed(5))
    return items, torch.tensor([[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [10, 11], [0, 5], [3, 8], [10, 1]])


def test_a_users_posterior_is_botorchs() -> None:
    """Mean and covariance of rewards at new items, linear and RBF kernel together."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # linear_operator scripts a function, which torch deprecates
        pytest.importorskip("botorch", reason="the oracle, BoTorch's PairwiseGP, comes with the extra tacit[gp]")
        from botorch.models.likelihoods.pairwise import PairwiseLogitLikelihood
        from botorch.models.pairwise_gp import PairwiseGP as Oracle
        from botorch.posteriors import GPyTorchPosterior
        from gpytorch.kernels import LinearKernel, RBFKernel, ScaleKernel

    model, (items, asked) = untrained(4, 0, base="zero"), questions()
    network = model.network
    assert isinstance(network, GPNetwork)
    linear, rbf, length, _ = network.log_scales.detach().double().exp()
    curve, line = ScaleKernel(RBFKernel()).double(), LinearKernel().double()
    curve.outputscale, curve.base_kernel.lengthscale, line.variance = rbf, length, linear
    kernel = ScaleKernel(curve + line).double()
    kernel.outputscale = 1.0
    new = torch.randn(6, 4, generator=torch.Generator().manual_seed(6))
    x, y = (network.features(network.standardizer(v)).detach() for v in (items, new))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        oracle = Oracle(x, asked, likelihood=PairwiseLogitLikelihood(), covar_module=kernel, jitter=1e-9).eval()
        known = oracle.posterior(y)
    assert isinstance(known, GPyTorchPosterior)
    mean, covariance = known.mean.squeeze(-1).detach(), known.distribution.covariance_matrix.detach()

    state = model.infer(ChoiceBatch.pairs(items[asked[:, 0]][None], items[asked[:, 1]][None]))
    standard = network.standardizer(new)
    i, j = torch.triu_indices(6, 6, 1)
    with torch.no_grad():
        gap, variance = network.gap(state.fitted, standard[i], standard[j])
    assert gap.abs().max() > 0.1
    assert_close(gap[0], mean[i] - mean[j], rtol=1e-4, atol=1e-4)
    spread = covariance.diagonal()
    assert_close(variance[0], spread[i] + spread[j] - 2 * covariance[i, j], rtol=1e-4, atol=1e-4)


def test_doubt_is_the_spread_of_the_centred_reward() -> None:
    """From variances of all gaps: Var(r_i - mean r) = mean_j V_ij - mean_jl V_jl / 2."""
    model, (items, asked) = untrained(4, 0), questions()
    state = model.infer(ChoiceBatch.pairs(items[asked[:, 0]][None], items[asked[:, 1]][None]))
    standard = model.network.standardizer(items)
    assert isinstance(model.network, GPNetwork)
    with torch.no_grad():
        every = [model.network.gap(state.fitted, standard, row.expand(12, 4))[1][0] for row in standard]
        doubt = model.network.doubt(state.fitted, standard)
    variance = torch.stack(every)
    assert_close(doubt[0], (variance.mean(0) - variance.mean() / 2).sqrt().float(), rtol=1e-4, atol=1e-5)


def test_the_same_choice_twice_is_one_of_double_weight() -> None:
    """Also the tie: two opposed pairs, whose covariance is singular."""
    model, (items, asked) = untrained(4, 0), questions()
    network, (a, b) = model.network, network_items(model, items, asked)
    twice = Pairs(a.repeat(1, 2, 1), b.repeat(1, 2, 1), torch.ones(1, 18))
    heavy = Pairs(a, b, 2 * torch.ones(1, 9))
    tied = Pairs(torch.cat([a, b], 1), torch.cat([b, a], 1), torch.full((1, 18), 0.5))
    with torch.no_grad():
        assert_close(network.rewards(network.adapt(twice), a[0]), network.rewards(network.adapt(heavy), a[0]))
        assert bool(network.rewards(network.adapt(tied), a[0]).isfinite().all())


def network_items(model: PairwiseGP, items: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
    standard = model.network.standardizer(items)
    return standard[asked[:, 0]][None], standard[asked[:, 1]][None]


def users(first: int, last: int, pairs: int = 30) -> ChoiceIndex:
    """One-dimensional items in [-2, 2]; half the users like the middle, half the edges. No line tells them apart."""
    n, seeded = last - first, torch.Generator().manual_seed(1 + first)
    user = torch.arange(n).repeat_interleave(pairs)
    items = torch.randint(len(VECTORS), (len(user), 2), generator=seeded)
    taste = 4 * (1.0 - 2.0 * (user % 2))
    gap = taste * (VECTORS[items[:, 0], 0].square() - VECTORS[items[:, 1], 0].square())
    items = torch.where((gap > 0).unsqueeze(1), items, items.flip(1))
    group = torch.arange(len(user)).unsqueeze(1).expand_as(items)
    return ChoiceIndex.build(user, items, torch.tensor([0, 1]).expand_as(items), group, n_users=n)


VECTORS = torch.linspace(-2, 2, 200).unsqueeze(1)
TRAIN, VALIDATION = users(0, 60), users(60, 90)


def fit(**settings: Any) -> PairwiseGP:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tacit.baselines.pairwise_gp.STEPS", 60)
        config = GPConfig.model_validate(settings)
        return PairwiseGP.fit(TRAIN, VECTORS, validation=VALIDATION, config=config, training=TRAINING)


def accuracy(model: PairwiseGP, *, of_another: bool = False, k: int = 15) -> float:
    pairs = VECTORS[VALIDATION.items].unflatten(0, (30, 30))
    context = ChoiceBatch.pairs(pairs[:, :k, 0], pairs[:, :k, 1])
    state = model.infer(context.of_users(torch.arange(30).roll(1)) if of_another else context)
    return (model.prefer(state, pairs[:, 15:, 0], pairs[:, 15:, 1]) > 0.5).double().mean().item()


def test_a_fit_learns_curved_tastes_from_a_users_own_choices() -> None:
    model = fit()
    assert accuracy(model) > 0.85
    assert accuracy(model, k=0) < 0.65, "the population has no taste in common"
    assert accuracy(model, of_another=True) < 0.3, "the next user likes the opposite"
    assert model.notes["rbf"] > model.notes["linear"]


def test_a_fit_is_its_seed_and_raises_the_evidence() -> None:
    model = fit(base="zero")
    assert fit(base="zero").fingerprint == model.fingerprint
    start = GPNetwork(1, GPConfig(components=1, base="zero"))
    start.load_state_dict(model.network.state_dict() | {"log_scales": start.log_scales.detach()})
    vectors = model.network.standardizer(VECTORS)
    episode = EpisodeSampler(TRAIN, vectors, 0, 15, 3).sample(torch.arange(60), 0)
    with torch.no_grad():
        before, after = (network.loss(episode, ObjectiveConfig(), None) for network in (start, model.network))
    assert after < before - 0.02
