"""Bayesian logistic regression per user, its prior learnt from the population (empirical Bayes).

    r_i(y) = w_i . e(y)      w_i ~ N(w0, S0)      P(w over l) = sigmoid(r_i(w) - r_i(l))

e(y) are principal components of the item vectors, and with `base="mlp"` the pooled BTL's reward b(y) as one more, so
that w_i is then how the user departs from the population. A new user is Newton's way to the mode m and the covariance C
there (Laplace); no choices leave (w0, S0). P(a over b) = E[sigmoid(gap)], gap ~ N(m . d, d^T C d), divided by a
temperature.

(w0, S0) maximise the evidence (type-II likelihood) by EM. E: Laplace's (m_i, C_i) of every training user. M:

    w0 = mean_i m_i      S = mean_i (C_i + (m_i - w0)(m_i - w0)^T)      S0 = (n S + nu (tr S / d) I) / (n + nu)

with nu the shrinkage towards a round prior of the same size.

Sources: MacKay (1992), "The evidence framework applied to classification networks"; the M step is that of a random
coefficients model (Train, "Discrete choice methods with simulation", 2nd ed. 2009, chapter 14).
Deviations from textbook EM: Laplace stands for the exact E step, which makes S0 too small where users have few choices
or choose almost without noise (the temperature makes up for some of it); nu; b(y) has a weight of its own, because a
pooled reward is flatter than the mean of the users' rewards; EM keeps the iteration with the best NLL on validation
users, the rule all methods share; items are standardised before the components are taken, as for all methods.
"""

from collections.abc import Iterator
from typing import Any, Self

import torch
from pydantic import Field
from torch import Tensor

from tacit.baselines import baselines
from tacit.baselines.adaptive import AdaptiveModel, Fitted, Run
from tacit.baselines.gaussian import GaussianConfig, GaussianNetwork, fit_population
from tacit.baselines.logistic import LaplacePosterior, laplace_posterior
from tacit.baselines.method import grid
from tacit.baselines.pairs import Pairs, training_pairs
from tacit.rewards.calibration import fit_temperature, measure
from tacit.rewards.episodic_fit import FitData
from tacit.training.config import TrainingConfig

__all__ = ["BayesianLogistic", "LaplaceConfig", "LaplaceNetwork"]

EM_STEPS, VALIDATIONS = 50, 10
BLOCK = 2**22
"""Numbers in one padded block of training users: 32 MiB of float64."""


class LaplaceConfig(GaussianConfig):
    """The Gaussian baselines' settings, and nu, the shrinkage in users' worth of a round prior."""

    shrinkage: float = Field(default=10.0, ge=0)


class LaplaceNetwork(GaussianNetwork):
    """The prior of the weights, and each user's posterior under it.

    Attributes:
        mean: w0, Float64[features]; features are the components and, with a base, the pooled reward.
        factor: Float64[features features], lower triangular, S0 = factor factor^T.
    """

    config: LaplaceConfig
    mean: Tensor
    factor: Tensor

    def __init__(self, dim: int, config: LaplaceConfig, n_users: int = 1) -> None:
        super().__init__(dim, config)
        mean = torch.zeros(config.components + (self.base is not None), dtype=torch.float64)
        mean[config.components :] = 1
        self.register_buffer("mean", mean)
        self.register_buffer("factor", torch.eye(len(mean), dtype=torch.float64))

    def features(self, items: Tensor) -> Tensor:
        """Float64[... features] of Float[... dim]."""
        components = super().features(items)
        return components if self.base is None else torch.cat([components, self.pooled_reward(items)[..., None]], -1)

    def adapt(self, pairs: Pairs) -> Fitted:
        """`mean` Float64[users features] and `covariance` Float64[users features features]."""
        gap = self.features(pairs.winner) - self.features(pairs.loser)
        found = self.whitened(gap, pairs.weight.double())
        covariance = self.factor @ found.covariance @ self.factor.T
        return {"mean": self.mean + found.mode @ self.factor.T, "covariance": covariance}

    def whitened(self, gap: Tensor, weight: Tensor, start: Tensor | None = None) -> LaplacePosterior:
        """The posterior of v, where w = mean + factor v, from feature differences Float64[users pairs features]."""
        return laplace_posterior(gap @ self.factor, gap @ self.mean, weight, start)

    def rewards(self, fitted: Fitted, items: Tensor) -> Tensor:
        """Reward at the users' mode: Float[users items]."""
        return (self.features(items) @ fitted["mean"].unsqueeze(-1)).squeeze(-1).to(items.dtype)

    def gap(self, fitted: Fitted, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of r(a) - r(b), Float64[users pairs]."""
        delta = self.features(a) - self.features(b)
        return (delta @ fitted["mean"].unsqueeze(-1)).squeeze(-1), _quadratic(delta, fitted["covariance"])

    def doubt(self, fitted: Fitted, items: Tensor) -> Tensor:
        """Standard deviation of the centred reward: Float[users items]."""
        features = self.features(items)
        return _quadratic(features - features.mean(-2, keepdim=True), fitted["covariance"]).sqrt().to(items.dtype)


@baselines.register("laplace")
class BayesianLogistic(AdaptiveModel):
    """Bayesian logistic regression with a learnt prior as a `PreferenceModel`."""

    name = "bayesian_logistic"
    label, kind = "Bayesian logistic", "strong"
    network_class, config_class = LaplaceNetwork, LaplaceConfig
    grid = grid({}, {"components": 64}, {"base": "mlp"}, {"base": "mlp", "principal": 32})

    @classmethod
    def fitted(cls, data: FitData, config: LaplaceConfig, training: TrainingConfig, run: Run, **told: Any) -> Self:
        """Fit the prior by EM; choose the iteration and the temperature on validation users.

        `training` is of the pooled BTL, if there is one; EM takes only the shape and seed of validation episodes.
        """
        network = fit_population(LaplaceNetwork, config, data, training, run)
        run.emit("start", 0, EM_STEPS)
        episodes, blocks = data.episodes(training), list(_blocks(data, network))
        every = max(1, EM_STEPS // VALIDATIONS)
        best, best_step, kept = float("inf"), 0, (network.mean, network.factor)
        with torch.no_grad():
            means: Tensor | None = None
            for step in range(1, EM_STEPS + 1):
                means = _em_step(network, blocks, data.choices.n_users, means)
                run.emit("step", step, EM_STEPS)
                if step % every and step != EM_STEPS:
                    continue
                nll = measure(network, episodes)["nll"]
                run.emit("validation", step, EM_STEPS, nll=nll)
                if nll < best:
                    best, best_step, kept = nll, step, (network.mean.clone(), network.factor.clone())
            network.mean.copy_(kept[0])
            network.factor.copy_(kept[1])
        run.emit("end", EM_STEPS, EM_STEPS)
        notes = {"steps": EM_STEPS, "best_step": best_step, "seed": training.seed, "validation_nll": best}
        return cls(network, fit_temperature(network, episodes), notes)


_Block = tuple[Tensor, Tensor, Tensor]
"""user Int64[users], feature differences Float64[users pairs features], weight Float64[users pairs]."""


def _em_step(network: LaplaceNetwork, blocks: list[_Block], users: int, means: Tensor | None) -> Tensor:
    """Better (w0, S0) in place; `means` and what returns are w_i, Float64[users features], a place to start from."""
    size = len(network.mean)
    found = network.mean.new_empty(users, size)
    spread = torch.zeros_like(network.factor)
    for user, gap, weight in blocks:
        start = None
        if means is not None:
            away = (means[user] - network.mean).T
            start = torch.linalg.solve_triangular(network.factor, away, upper=False).T
        posterior = network.whitened(gap, weight, start)
        found[user] = network.mean + posterior.mode @ network.factor.T
        spread += network.factor @ posterior.covariance.sum(0) @ network.factor.T
    network.mean.copy_(found.mean(0))
    away = found - network.mean
    spread += away.T @ away
    nu = network.config.shrinkage
    spread += nu * spread.trace() / (users * size) * torch.eye(size, dtype=spread.dtype)
    network.factor.copy_(torch.linalg.cholesky(spread / (users + nu)))
    return found


def _blocks(data: FitData, network: LaplaceNetwork) -> Iterator[_Block]:
    """Training users with about as many pairs as each other, padded to the longest of the block."""
    pairs = training_pairs(data.choices)
    with torch.no_grad():
        features = network.features(data.vectors)
    counts = torch.bincount(pairs.user, minlength=data.choices.n_users)
    first = counts.cumsum(0) - counts
    order = counts.argsort(stable=True)
    while len(order):
        room = (torch.arange(1, len(order) + 1) * counts[order] * features.shape[1]) <= BLOCK
        users, order = order.split([(n := max(1, int(room.sum()))), len(order) - n])
        slot = torch.arange(int(counts[users].max()))
        real = slot < counts[users].unsqueeze(1)
        row = (first[users].unsqueeze(1) + slot).clamp(max=len(pairs.user) - 1)
        yield users, features[pairs.winner[row]] - features[pairs.loser[row]], pairs.weight[row] * real.double()


def _quadratic(vectors: Tensor, matrix: Tensor) -> Tensor:
    """v^T M v, Float64[users rows] of v Float64[(users) rows features] and M Float64[users features features]."""
    return ((vectors @ matrix) * vectors).sum(-1).clamp(min=0)
