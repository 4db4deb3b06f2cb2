"""LoRe: it keeps the contract, its gradient is right, it recovers planted users."""

import pytest
import torch
from low_rank_users import DIM, ITEMS, contexts, correlation, planted
from torch.testing import assert_close

from tacit.baselines.lore import LoRe, LoReConfig, LoReNetwork, mixture_gradient
from tacit.baselines.pairs import Pairs
from tacit.rewards.episodic_fit import seeded_modules
from tacit.testing import SavedModelConformance
from tacit.training import TrainingConfig

TRAINING = TrainingConfig(
    steps=300, users_per_batch=64, learning_rate=0.01, validate_every=100, threads=1, device="cpu"
)  # fmt: skip


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convergence is tested apart."""
    monkeypatch.setattr("tacit.baselines.lore.ADAPT_STEPS", 100)


def network(seed: int = 0, dim: int = 4, **config: object) -> LoReNetwork:
    """Untrained, its basis large enough to matter."""
    with seeded_modules(seed), torch.no_grad():
        made = LoReNetwork(dim, LoReConfig.model_validate({"rank": 3, **config}), n_users=5)
        made.basis.mul_(5)
        made.standardizer.fit(0.5 + 2 * torch.randn(50, dim))
    return made.eval()


class TestLoRe(SavedModelConformance):
    def make(self, seed: int) -> LoRe:
        return LoRe(network(seed, self.dim), temperature=0.8)


def some_pairs(users: int, count: int, dim: int) -> Pairs:
    generator = torch.Generator().manual_seed(3)
    winner, loser = torch.randn(2, users, count, dim, generator=generator)
    return Pairs(winner, loser, torch.rand(users, count, generator=generator))


def test_the_gradient_is_autograds() -> None:
    pairs = some_pairs(2, 4, 3)
    gaps, weight = pairs.difference.double(), pairs.weight.double()
    w = torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    loss = -(((gaps * w.softmax(-1).unsqueeze(1)).sum(-1)).sigmoid().log() * weight).sum()
    (expected,) = torch.autograd.grad(loss, w)
    assert_close(mixture_gradient(w, gaps, weight), expected)


def test_adapting_is_five_hundred_steps_of_adam() -> None:
    """The published procedure, written with torch's own optimiser, one user at a time."""
    lore, pairs = network(), some_pairs(3, 4, 4)
    lore.steps = 500
    fitted = lore.adapt(pairs)["mixture"]
    for user in range(3):
        w = lore.start.double().clone().requires_grad_()
        optimizer = torch.optim.Adam([w], lr=0.1)
        gaps = (pairs.difference[user] @ lore.basis.mT).double().detach()
        for _ in range(500):
            optimizer.zero_grad()
            (-(gaps @ w.softmax(-1)).sigmoid().log() * pairs.weight[user]).sum().backward()
            optimizer.step()
        assert_close(fitted[user], w.softmax(-1).float().detach(), rtol=1e-3, atol=1e-4)


def test_without_choices_a_user_is_the_mean_training_user() -> None:
    lore = network()
    nobody = lore.adapt(Pairs(torch.zeros(2, 0, 4), torch.zeros(2, 0, 4), torch.zeros(2, 0)))["mixture"]
    expected = (10 * lore.table).softmax(-1).mean(0)
    assert_close(nobody, expected.expand(2, 3))


def test_a_prior_keeps_the_user_near_the_even_mixture() -> None:
    pairs = some_pairs(3, 4, 4)
    free, bound = (network(l2=l2).adapt(pairs)["mixture"] for l2 in (0.0, 100.0))
    assert (bound - 1 / 3).abs().max() < 0.02
    assert (free - 1 / 3).abs().max() > 0.1


def test_planted_users_are_recovered(monkeypatch: pytest.MonkeyPatch) -> None:
    """New users' rewards correlate with the truth, by their own choices and not by another user's."""
    monkeypatch.setattr("tacit.baselines.lore.ADAPT_STEPS", 500)
    (train, _), (validation, _), (test, truth) = planted(200, 0), planted(40, 1), planted(40, 2)
    config = LoReConfig(rank=3)
    model = LoRe.fit(train, ITEMS, validation=validation, config=config, training=TRAINING)
    assert model.dim == DIM
    own = correlation(model.score(model.infer(contexts(test, 40)), ITEMS), truth)
    cold = correlation(model.score(model.infer(contexts(test, 0)), ITEMS), truth)
    other = correlation(model.score(model.infer(contexts(test, 40)), ITEMS).roll(1, 0), truth)
    assert own.mean() > 0.95
    assert cold.mean() < 0.85
    assert other.mean() < 0.85
