"""PReF: it keeps the contract, solves the ridge-logistic problem, starts from the SVD, recovers planted users."""

import numpy as np
import pytest
import torch
from low_rank_users import DIM, ITEMS, contexts, correlation, planted
from torch.testing import assert_close

from tacit.baselines.pairs import Pairs
from tacit.baselines.pref import PReF, PReFConfig, PReFNetwork
from tacit.rewards.episodic_fit import fit_data, seeded_modules
from tacit.testing import SavedModelConformance
from tacit.training import TrainingConfig

TRAINING = TrainingConfig(
    steps=200, users_per_batch=64, learning_rate=0.01, validate_every=100, threads=1, device="cpu"
)  # fmt: skip


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convergence is tested apart."""
    monkeypatch.setattr("tacit.baselines.pref.ADAPT_STEPS", 200)


def network(seed: int = 0, dim: int = 4, **config: object) -> PReFNetwork:
    """Untrained."""
    with seeded_modules(seed), torch.no_grad():
        made = PReFNetwork(dim, PReFConfig.model_validate({"rank": 3, **config}), n_users=5)
        made.standardizer.fit(0.5 + 2 * torch.randn(50, dim))
    return made.eval()


class TestPReF(SavedModelConformance):
    def make(self, seed: int) -> PReF:
        return PReF(network(seed, self.dim), temperature=0.8)


def newton(gaps: np.ndarray, weight: np.ndarray, l2: float) -> np.ndarray:
    """argmin over u of sum_j -weight_j log sigmoid(gaps_j u) + l2 / 2 |u|^2."""
    u = np.zeros(gaps.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-gaps @ u))
        gradient = l2 * u - gaps.T @ (weight * (1 - p))
        hessian = l2 * np.eye(len(u)) + gaps.T @ ((weight * p * (1 - p))[:, None] * gaps)
        u -= np.linalg.solve(hessian, gradient)
    return u


@pytest.mark.parametrize("l2", [0.05, 1.0])
def test_adapting_solves_the_ridge_logistic_problem(l2: float) -> None:
    pref = network(l2=l2)
    pref.steps = 5000
    generator = torch.Generator().manual_seed(3)
    winner, loser = torch.randn(2, 3, 12, 4, generator=generator)
    weight = torch.rand(3, 12, generator=generator) * (torch.arange(12) < torch.tensor([[12], [5], [1]]))
    fitted = pref.adapt(Pairs(winner, loser, weight))["u"]
    gaps = ((winner - loser).double() @ pref.features.double().mT).detach().numpy()
    for user in range(3):
        expected = newton(gaps[user], weight[user].double().numpy(), l2)
        assert_close(fitted[user], torch.tensor(expected).float(), rtol=1e-4, atol=1e-5)


def test_a_tie_is_a_soft_target_of_one_half() -> None:
    """Two opposed pairs of half the weight: the loss of p against 1/2; alone it wants u at 0."""
    pref, gap = network(), torch.randn(1, 1, 4, generator=torch.Generator().manual_seed(1))
    pref.steps = 2000
    pair, zero = torch.cat([gap, -gap], 1), torch.zeros(1, 2, 4)
    assert_close(pref.adapt(Pairs(pair, zero, torch.full((1, 2), 0.5)))["u"], torch.zeros(1, 3), rtol=0, atol=1e-5)


def test_without_choices_a_user_is_the_mean_training_user() -> None:
    pref = network()
    nobody = pref.adapt(Pairs(torch.zeros(2, 0, 4), torch.zeros(2, 0, 4), torch.zeros(2, 0)))["u"]
    assert_close(nobody, pref.table.mean(0).expand(2, 3))


@pytest.mark.parametrize("rank", [3, 9])
def test_the_start_is_the_users_mean_differences(rank: int) -> None:
    """With every rank kept, a user's reward starts proportional to mean(winner - loser) . item."""
    (train, _), (validation, _) = planted(30, 0), planted(5, 1)
    data = fit_data(train, ITEMS, validation=validation)
    with seeded_modules(0):
        pref = PReFNetwork(DIM, PReFConfig(rank=rank), n_users=30)
    pref.begin(data)
    vectors = data.vectors[data.choices.items]
    mean = (vectors[:, 0] - vectors[:, 1]).reshape(30, -1, DIM).mean(1)
    started = (pref.table @ pref.features).detach()
    left, size, right = np.linalg.svd(mean.numpy(), full_matrices=False)
    best = torch.tensor((left[:, :rank] * size[:rank]) @ right[:rank])
    scale = (started * best).sum() / best.square().sum()
    assert scale > 0
    assert_close(started, scale * best, rtol=1e-3, atol=1e-4)


def test_planted_users_are_recovered(monkeypatch: pytest.MonkeyPatch) -> None:
    """New users' rewards correlate with the truth, by their own choices and not by another user's."""
    (train, _), (validation, _), (test, truth) = planted(150, 0), planted(30, 1), planted(30, 2)
    monkeypatch.setattr("tacit.baselines.pref.ADAPT_STEPS", 1000)
    config = PReFConfig(rank=3, l2=0.3)
    model = PReF.fit(train, ITEMS, validation=validation, config=config, training=TRAINING)
    own = model.score(model.infer(contexts(test, 40)), ITEMS)
    cold = model.score(model.infer(contexts(test, 0)), ITEMS)
    assert correlation(own, truth).mean() > 0.95
    assert correlation(cold, truth).mean() < 0.85
    assert correlation(own.roll(1, 0), truth).mean() < 0.85
    assert model.network.steps == 1000
