"""Pairwise Gaussian process: each user's reward is a GP around the pooled one, learnt from choices by Laplace.

    r_i ~ GP(gain * b, kappa)      P(w over l) = sigmoid(r_i(w) - r_i(l))
    kappa(x, y) = linear * x . y + rbf * exp(-|x - y|^2 / (2 length^2)),  x, y principal components of the items

Only differences are seen, so the k observed f_j = r(w_j) - r(l_j) are Gaussian a priori with mean
m_j = gain (b(w_j) - b(l_j)) and the k x k matrix K of their covariances. At the mode, with alpha_j = weight_j
sigmoid(-f_j) and W_j = weight_j sigmoid(f_j) sigmoid(-f_j), a new difference with cross-covariances c (k numbers) and
prior variance s has

    mean = prior mean + c . alpha      variance = s - c^T R c,      R = (K + W^-1)^-1 = W - W A H^-1 A^T W,   K = A A^T

(Rasmussen and Williams, 2006, "Gaussian processes for machine learning", section 3.4, algorithms 3.1 and 3.2, in the
factor's coordinates; H as in `logistic`). Without choices that is the prior: gain b, and the kernel's doubt.
Hyperparameters are shared by all users and maximise the Laplace evidence (equation 3.32) of training users' choices.

Sources: Chu and Ghahramani (2005), "Preference learning with Gaussian processes"; BoTorch's `PairwiseGP` with
`PairwiseLogitLikelihood`, which the tests hold this against (the extra `gp` brings it). The model does not run on
BoTorch: that fits one user at a time, and over the n items rather than the k differences.
Deviations: logit in place of Chu's probit, so that all methods share the likelihood; hyperparameters of the population
rather than of one user, who has too few choices for it, stopped at the best NLL on validation users; a linear part
beside the RBF, which carries over to items far from all that were asked about, and one length instead of one per
component; the pooled BTL as prior mean in place of a constant, with a gain, because it is flatter than the mean of the
users' rewards (`base="zero"` leaves it out); items are standardised first, as for all methods.
"""

from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from tacit.baselines import baselines
from tacit.baselines.adaptive import AdaptiveModel, Fitted, Run
from tacit.baselines.gaussian import GaussianConfig, GaussianNetwork, fit_population
from tacit.baselines.logistic import laplace_evidence, laplace_posterior
from tacit.baselines.method import grid
from tacit.baselines.pairs import Pairs, pairs_of
from tacit.episodes.episode import Episode
from tacit.rewards.episodic_fit import FitData
from tacit.training.config import ObjectiveConfig, TrainingConfig

__all__ = ["GPConfig", "GPNetwork", "PairwiseGP"]

SCALES = ("linear", "rbf", "length", "gain")
STEPS, LEARNING_RATE = 150, 0.1
"""Of the four hyperparameters; the pooled BTL follows the `TrainingConfig`."""
JITTER = 1e-8
"""Of the prior variance, added to K: a pair that comes twice makes it singular."""


class GPConfig(GaussianConfig):
    """The Gaussian baselines' settings, on the pooled BTL unless told otherwise."""

    base: Literal["zero", "mlp"] = "mlp"


class GPNetwork(GaussianNetwork):
    """Four hyperparameters, and each user's posterior under them.

    Attributes:
        log_scales: logs of `linear`, `rbf`, `length` and `gain`, Float32[4].
    """

    config: GPConfig

    def __init__(self, dim: int, config: GPConfig, n_users: int = 1) -> None:
        super().__init__(dim, config)
        self.log_scales = nn.Parameter(torch.tensor([0.5, 0.5, 1.0, 1.0]).log())

    def prior_mean(self, items: Tensor) -> Tensor:
        """Gain * b, Float64[... items] of Float[... dim]."""
        return self.log_scales[3].double().exp() * self.pooled_reward(items)

    def kernel(self, x: Tensor, y: Tensor) -> Tensor:
        """Kappa Float64[... n m] of features Float64[... n components] and Float64[... m components]."""
        linear, rbf, length, _ = self.log_scales.double().exp()
        product = x @ y.mT
        distance = (x.square().sum(-1).unsqueeze(-1) + y.square().sum(-1).unsqueeze(-2) - 2 * product).clamp(min=0)
        return linear * product + rbf * (-0.5 * distance / length**2).exp()

    def prior(self, pairs: Pairs) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Features of winners and losers, the lower factor A of K Float64[users pairs pairs], and m."""
        real = (pairs.weight > 0).unsqueeze(-1)  # both items of a padding pair become the same: a difference of 0
        winner = self.features(pairs.winner).where(real, 0.0)
        loser = self.features(pairs.loser).where(real, 0.0)
        cross = self.cross(winner, winner, loser) - self.cross(loser, winner, loser)
        nugget = JITTER * self.log_scales[:2].double().exp().sum()
        eye = torch.eye(cross.shape[-1], dtype=cross.dtype, device=cross.device)
        factor = torch.linalg.cholesky(cross + nugget * eye)
        return winner, loser, factor, self.prior_mean(pairs.winner) - self.prior_mean(pairs.loser)

    def cross(self, items: Tensor, winner: Tensor, loser: Tensor) -> Tensor:
        """Covariance of r(item) with the differences: Float64[users items pairs], of features."""
        return self.kernel(items, winner) - self.kernel(items, loser)

    def loss(self, episode: Episode, objective: ObjectiveConfig, generator: torch.Generator | None) -> Tensor:
        """Minus log evidence of the targets, in nats per target."""
        pairs = pairs_of(episode.target)
        _, _, factor, mean = self.prior(pairs)
        evidence = laplace_evidence(factor, mean, pairs.weight.double())
        return -evidence.sum() / pairs.weight.sum().clamp(min=1e-12)

    def adapt(self, pairs: Pairs) -> Fitted:
        """`winner`, `loser` Float64[users pairs components], `alpha` Float64[users pairs], `solver` R."""
        winner, loser, factor, mean = self.prior(pairs)
        weight = pairs.weight.double()
        found = laplace_posterior(factor, mean, weight)
        f = mean + (factor @ found.mode.unsqueeze(-1)).squeeze(-1)
        alpha = weight * (-f).sigmoid()
        curve = alpha * f.sigmoid()
        inner = curve.unsqueeze(-1) * factor
        solver = torch.diag_embed(curve) - inner @ found.covariance @ inner.mT
        return {"winner": winner, "loser": loser, "alpha": alpha, "solver": solver}

    def rewards(self, fitted: Fitted, items: Tensor) -> Tensor:
        """Reward at the users' mode: Float[users items]."""
        cross = self.cross(self.features(items), fitted["winner"], fitted["loser"])
        return (self.prior_mean(items) + (cross @ fitted["alpha"].unsqueeze(-1)).squeeze(-1)).to(items.dtype)

    def gap(self, fitted: Fitted, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of r(a) - r(b), Float64[users pairs]."""
        x, y = self.features(a), self.features(b)
        cross = self.cross(x, fitted["winner"], fitted["loser"]) - self.cross(y, fitted["winner"], fitted["loser"])
        mean = self.prior_mean(a) - self.prior_mean(b) + (cross @ fitted["alpha"].unsqueeze(-1)).squeeze(-1)
        linear, rbf, length, _ = self.log_scales.double().exp()
        distance = (x - y).square().sum(-1)
        before = linear * distance - 2 * rbf * torch.expm1(-0.5 * distance / length**2)
        return mean, (before - _explained(cross, fitted["solver"])).clamp(min=0)

    def doubt(self, fitted: Fitted, items: Tensor) -> Tensor:
        """Standard deviation of the centred reward: Float[users items]."""
        features = self.features(items)
        before = self.kernel(features, features)
        before = before - before.mean(-1, keepdim=True)
        before = (before - before.mean(-2, keepdim=True)).diagonal(dim1=-2, dim2=-1)
        cross = self.cross(features, fitted["winner"], fitted["loser"])
        cross = cross - cross.mean(-2, keepdim=True)
        return (before - _explained(cross, fitted["solver"])).clamp(min=0).sqrt().to(items.dtype)


@baselines.register("gp")
class PairwiseGP(AdaptiveModel):
    """Pairwise GP with the logit likelihood as a `PreferenceModel`."""

    name = "pairwise_gp"
    label, kind = "pairwise GP", "strong"
    network_class, config_class = GPNetwork, GPConfig
    grid = grid({}, {"components": 64}, {"dropout": 0.5}, {"principal": 32})

    @classmethod
    def fitted(cls, data: FitData, config: GPConfig, training: TrainingConfig, run: Run, **told: Any) -> Self:
        """Fit the pooled BTL, then the hyperparameters, by the evidence of episodes' targets."""
        network = fit_population(GPNetwork, config, data, training, run)
        short = training.model_copy(
            update={"steps": STEPS, "learning_rate": LEARNING_RATE, "validate_every": max(1, STEPS // 8)}
        )
        model = cls.trained(network, data, short, run)
        model.notes.update(zip(SCALES, network.log_scales.exp().tolist(), strict=True))
        return model


def _explained(cross: Tensor, solver: Tensor) -> Tensor:
    """Variance that the choices take away, c^T R c: Float64[users rows]."""
    return ((cross @ solver) * cross).sum(-1)
