"""PReF: a user's reward is a linear combination of a few learnt features of the item, with an L2 prior.

Source: Shenfeld et al., "Language Model Personalization via Reward Factorization", 2025 (arXiv 2503.06358).

    p(a over b) = sigmoid(u_i^T (phi(a) - phi(b)))        phi(y) = A e(y) in R^r, u_i in R^r
    training    min over A and all u_i of  sum_ij -log p_ij + l2 / 2 (sum_i |u_i|^2 + n mean_ij |phi_ij|^2), n users and
                phi_ij = phi(winner) - phi(loser), started from an SVD; a tie has the soft target 1/2
    new user    A stays; u = argmin sum_j -log p_j + l2 / 2 |u|^2, by 5000 gradient steps

Deviations from the published procedure:
- The SVD. Published: of the users x pairs matrix of answers. Users seldom answer the same pair here, so its rows are
  read through the items' vectors: row i is the mean over the user's choices of e(winner) - e(loser), that is the
  users x items matrix of wins less losses times the items. U sqrt(n) starts the table, S V^T / sqrt(n) starts A (up
  to one factor that gives the training gaps unit size); ranks beyond those of the matrix start at random, unseen.
- phi is a linear head on frozen embeddings (published: on a small language model that is tuned with it).
- Training draws batches of users (all pairs of an episode, both sides) with the AdamW, schedule and early stopping on
  validation users that every method here shares. Norms are squared, so that the penalty is a Gaussian prior.
- New users: full-batch steps of size 1 / L, L the largest curvature of the user's own loss, from the mean training
  user (published: steps of 0.01 on the mean loss, from a random start, L2 in training only). The problem is convex, so
  that the start is forgotten. Validation while training takes 500 of these steps; the temperature is fitted with all.
- k = 0: the prior alone has its optimum at u = 0, which prefers nothing; a user without choices gets the mean u of the
  training users.
- Asking actively for the next pair is not part of this file.
"""

from typing import ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from tacit.baselines import baselines
from tacit.baselines.adaptive import AdaptiveModel, AdaptiveNetwork, Fitted
from tacit.baselines.method import grid
from tacit.baselines.pairs import Pairs, episode_pairs, training_pairs
from tacit.episodes.episode import Episode
from tacit.rewards.episodic_fit import FitData
from tacit.training.config import ObjectiveConfig

__all__ = ["PReF", "PReFConfig", "PReFNetwork"]

ADAPT_STEPS, VALIDATION_STEPS = 5000, 500


class PReFConfig(BaseModel):
    """Features r, and the strength of the prior on u against the sum of the user's choices."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    rank: int = Field(default=8, ge=1, le=1024)
    l2: float = Field(default=0.3, gt=0)


class PReFNetwork(AdaptiveNetwork):
    """A (`features` Float[rank dim]) and a row u_i per training user (`table` Float[n_users rank])."""

    config: PReFConfig

    def __init__(self, dim: int, config: PReFConfig, n_users: int = 1) -> None:
        super().__init__(dim, config, n_users)
        self.features = nn.Parameter(torch.randn(config.rank, dim) * dim**-0.5)
        self.table = nn.Parameter(torch.randn(n_users, config.rank))
        self.steps = ADAPT_STEPS

    @torch.no_grad()
    def begin(self, data: FitData) -> None:
        """Start both factors from an SVD of the users' mean differences; take fewer steps while training."""
        self.steps = min(VALIDATION_STEPS, self.steps)
        pairs = training_pairs(data.choices)
        share = pairs.weight / torch.bincount(pairs.user, pairs.weight, self.n_users)[pairs.user]
        where = torch.stack([pairs.user.repeat(2), torch.cat([pairs.winner, pairs.loser])])
        size = (self.n_users, len(data.vectors))
        wins = torch.sparse_coo_tensor(where, torch.cat([share, -share]), size, check_invariants=False)
        left, values, right = torch.linalg.svd(wins @ data.vectors, full_matrices=False)
        found = min(self.config.rank, len(values))
        self.features.zero_()
        self.table[:, :found] = left[:, :found] * self.n_users**0.5
        self.features[:found] = values[:found, None] * right[:found] * self.n_users**-0.5
        phi = data.vectors @ self.features.mT
        gaps = ((phi[pairs.winner] - phi[pairs.loser]) * self.table[pairs.user]).sum(-1)
        self.features /= gaps.square().mean().sqrt().clamp(min=1e-6)

    def settle(self, items: Tensor) -> None:
        """All steps again."""
        self.steps = ADAPT_STEPS

    def loss(self, episode: Episode, objective: ObjectiveConfig, generator: torch.Generator | None) -> Tensor:
        """-log p of all pairs of the episode under the users' own rows, per pair, and the penalty on both factors."""
        assert episode.users is not None
        pairs, u = episode_pairs(episode.through(lambda items: items @ self.features.mT)), self.table[episode.users]
        gaps, total = pairs.difference, pairs.weight.sum().clamp(min=1)
        log_p = (logsigmoid(_combined(gaps, u)) * pairs.weight).sum() / total
        size = u.square().sum(-1).mean() + (gaps.square().sum(-1) * pairs.weight).sum() / total
        return 0.5 * self.config.l2 * size * len(u) / total - log_p

    def adapt(self, pairs: Pairs) -> Fitted:
        """`u` Float[users rank]: gradient descent on the ridge-logistic loss, in double precision."""
        gaps, weight = pairs.difference.double() @ self.features.double().mT, pairs.weight.double()
        mean, l2 = self.table.double().mean(0), self.config.l2
        curvature = 0.25 * (gaps * weight.unsqueeze(-1)).mT @ gaps  # at most this, whatever u: sigmoid' <= 1/4
        step = 1 / (torch.linalg.eigvalsh(curvature)[:, -1:] + l2)
        u = mean.expand(len(gaps), -1)
        for _ in range(self.steps):
            wrong = weight * (-_combined(gaps, u)).sigmoid()
            u = u - step * (l2 * u - (wrong.unsqueeze(1) @ gaps).squeeze(1))
        return {"u": torch.where(weight.sum(-1, keepdim=True) > 0, u, mean).to(self.features.dtype)}

    def rewards(self, fitted: Fitted, items: Tensor) -> Tensor:
        """u^T A e: Float[users items]."""
        return _combined(items @ self.features.mT, fitted["u"])


@baselines.register("pref")
class PReF(AdaptiveModel):
    """PReF as a `PreferenceModel`."""

    name = "pref"
    label, kind = "PReF", "published"
    network_class, config_class = PReFNetwork, PReFConfig
    grid = grid({}, {"l2": 1.0}, {"l2": 0.1}, {"principal": 32}, training={"learning_rate": 0.005})
    training: ClassVar = {"steps": 600, "learning_rate": 0.005}


def _combined(phi: Tensor, u: Tensor) -> Tensor:
    """u^T phi: Float[users items] of phi Float[(users) items rank] and u Float[users rank]."""
    return (phi @ u.unsqueeze(-1)).squeeze(-1)
