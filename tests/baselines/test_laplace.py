"""Bayesian logistic: the contract; Laplace against plain NumPy; EM finds planted users."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tacit.baselines import BayesianLogistic
from tacit.baselines.laplace import LaplaceConfig, LaplaceNetwork
from tacit.choices import ChoiceIndex
from tacit.episodes import ChoiceBatch
from tacit.rewards.expected_preference import expected_sigmoid
from tacit.testing import SavedModelConformance, random_choices
from tacit.testing.samples import reordered
from tacit.training import TrainingConfig

PRIOR_MEAN, PRIOR_SCALE = torch.tensor([1.0, -0.5, 0.0]), torch.tensor([0.3, 1.2, 0.8])
TRAINING = TrainingConfig(
    steps=100, users_per_batch=20, max_context=10, targets=20, learning_rate=0.02, validate_every=50,
    threads=1, device="cpu",
)  # fmt: skip


def untrained(dim: int, seed: int, **settings: object) -> BayesianLogistic:
    """A model whose prior is neither round nor centred."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        network = LaplaceNetwork(dim, LaplaceConfig.model_validate({"components": 3, **settings}))
        items = 0.5 + 2 * torch.randn(50, dim)
        network.standardizer.fit(items)
        network.fit_basis(network.standardizer(items))
        network.mean.copy_(torch.randn(len(network.mean)))
        network.factor.add_(torch.randn(network.factor.shape).tril())
    return BayesianLogistic(network.eval(), temperature=0.8)


class TestBayesianLogistic(SavedModelConformance):
    def make(self, seed: int) -> BayesianLogistic:
        return untrained(self.dim, seed)


class TestBayesianLogisticOnThePooledReward(SavedModelConformance):
    def make(self, seed: int) -> BayesianLogistic:
        return untrained(self.dim, seed, base="mlp")


def test_laplace_matches_numpy() -> None:
    """Newton in plain weights, with the prior's inverse, one user at a time."""
    model = untrained(4, 0)
    network, choices = model.network, random_choices(1, 9, 4, dtype=torch.float32)
    assert isinstance(network, LaplaceNetwork)
    fitted = model.infer(choices).fitted
    x = network.features(network.standardizer(choices.vectors))[0].numpy()
    x = x[:, 0] - x[:, 1]
    w0 = network.mean.numpy()
    precision = np.linalg.inv((network.factor @ network.factor.T).numpy())
    w, hessian = w0.copy(), precision
    for _ in range(200):
        lost = 1 / (1 + np.exp(x @ w))
        hessian = precision + x.T @ (x * (lost * (1 - lost))[:, None])
        w = w - 0.5 * np.linalg.solve(hessian, precision @ (w - w0) - x.T @ lost)
    assert_close(fitted["mean"][0], torch.from_numpy(w), rtol=1e-6, atol=1e-6)
    assert_close(fitted["covariance"][0], torch.from_numpy(np.linalg.inv(hessian)), rtol=1e-6, atol=1e-6)


def test_a_preference_is_averaged_over_the_posterior() -> None:
    """Monte Carlo over the weights, and the closed form over the gap."""
    model, items = untrained(4, 0), torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(3))
    network = model.network
    assert isinstance(network, LaplaceNetwork)
    state = model.infer(random_choices(1, 3, 4, dtype=torch.float32))
    mean, covariance = state.fitted["mean"][0], state.fitted["covariance"][0]
    noise = torch.randn(200_000, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    draws = mean + noise @ torch.linalg.cholesky(covariance).T
    features = network.features(network.standardizer(items))
    delta = features[0] - features[1]
    told = model.prefer(state, items[0], items[1])[0]
    assert_close(told, (draws @ delta.T / 0.8).sigmoid().mean(0).float(), rtol=0, atol=3e-3)
    variance = torch.einsum("pi,ij,pj->p", delta, covariance, delta)
    assert_close(told, expected_sigmoid(delta @ mean / 0.8, variance / 0.64).float())


def users(first: int, last: int, pairs: int = 40) -> ChoiceIndex:
    """Users with planted Gaussian weights who choose by BTL."""
    n, seeded = last - first, torch.Generator().manual_seed(first)
    weights = PRIOR_MEAN + PRIOR_SCALE * torch.randn(n, 3, generator=seeded)
    user = torch.arange(n).repeat_interleave(pairs)
    items = torch.randint(len(VECTORS), (len(user), 2), generator=seeded)
    gap = ((VECTORS[items[:, 0]] - VECTORS[items[:, 1]]) * weights[user]).sum(-1)
    won = torch.rand(len(user), generator=seeded) < gap.sigmoid()
    items = torch.where(won.unsqueeze(1), items, items.flip(1))
    group = torch.arange(len(user)).unsqueeze(1).expand_as(items)
    return ChoiceIndex.build(user, items, torch.tensor([0, 1]).expand_as(items), group, n_users=n)


VECTORS = torch.randn(400, 3, generator=torch.Generator().manual_seed(0))
TRAIN, VALIDATION = users(0, 200), users(200, 280)


def fit(em_steps: int = 25, **settings: Any) -> BayesianLogistic:
    config = LaplaceConfig.model_validate({"components": 3, **settings})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tacit.baselines.laplace.EM_STEPS", em_steps)
        return BayesianLogistic.fit(TRAIN, VECTORS, validation=VALIDATION, config=config, training=TRAINING)


def in_item_weights(network: LaplaceNetwork) -> tuple[Tensor, Tensor]:
    """W0 and the standard deviations of S0, back from standardised components to raw items."""
    back = network.basis.double() / network.standardizer.scale.double().unsqueeze(1)
    return back @ network.mean, (back @ network.factor).square().sum(-1).sqrt()


def validation_accuracy(model: BayesianLogistic, *, of_another: bool = False) -> float:
    """Of 20 later choices of each validation user, from the first 20 of the same user or of the next."""
    pairs = VECTORS[VALIDATION.items].unflatten(0, (80, 40))
    context = ChoiceBatch.pairs(pairs[:, :20, 0], pairs[:, :20, 1])
    state = model.infer(context.of_users(torch.arange(80).roll(1)) if of_another else context)
    return (model.prefer(state, pairs[:, 20:, 0], pairs[:, 20:, 1]) > 0.5).double().mean().item()


def test_em_recovers_the_planted_prior_and_so_new_users() -> None:
    model = fit(shrinkage=1.0)
    assert isinstance(model.network, LaplaceNetwork)
    mean, scale = in_item_weights(model.network)
    assert_close(mean.float(), PRIOR_MEAN, rtol=0, atol=0.25)
    assert_close(scale.float(), PRIOR_SCALE, rtol=0, atol=0.3)
    own, other = validation_accuracy(model), validation_accuracy(model, of_another=True)
    assert own > 0.72
    assert own > other + 0.05, "what is inferred is not personal"
    prior = model.infer(ChoiceBatch.empty(1, 3)).fitted
    assert torch.equal(prior["mean"][0], model.network.mean)


def test_shrinkage_rounds_the_prior() -> None:
    def ratio(model: BayesianLogistic) -> float:
        assert isinstance(model.network, LaplaceNetwork)
        values = torch.linalg.eigvalsh(model.network.factor @ model.network.factor.T)
        return (values.max() / values.min()).item()

    assert ratio(fit(shrinkage=1000.0)) < 2 < ratio(fit(shrinkage=0.0))


def test_a_fit_is_its_seed_and_the_order_of_blocks_is_irrelevant(monkeypatch: pytest.MonkeyPatch) -> None:
    once = fit(em_steps=5)
    assert fit(em_steps=5).fingerprint == once.fingerprint
    monkeypatch.setattr("tacit.baselines.laplace.BLOCK", 1000)
    small = fit(em_steps=5)
    assert isinstance(small.network, LaplaceNetwork)
    assert isinstance(once.network, LaplaceNetwork)
    assert_close(small.network.factor, once.network.factor)


def test_on_the_pooled_reward_users_depart_from_it() -> None:
    model = fit(base="mlp", em_steps=10)
    assert validation_accuracy(model) > validation_accuracy(model, of_another=True) + 0.05
    context = random_choices(1, 6, 3, dtype=torch.float32)
    state = model.infer(context)
    again = model.infer(reordered(context, [3, 1, 0, 2, 5, 4]))
    assert_close(state.fitted["mean"], again.fitted["mean"], rtol=1e-5, atol=1e-5)
