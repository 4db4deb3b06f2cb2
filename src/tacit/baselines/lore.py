"""LoRe: a user's reward is a mixture of a few linear rewards that everybody shares.

Source: Bose et al., "LoRe: Personalizing LLMs via Low-Rank Reward Modeling", 2025 (arXiv 2504.14439).

    r_i(y) = softmax(w_i)^T V e(y)        V in R^{B x d}, w_i in R^B
    training    min over V and all w_i of  sum_i mean_j -log sigmoid(r_i(winner_ij) - r_i(loser_ij)),  joint Adam
    new user    V stays; 500 Adam steps (rate 0.1) on w from a standard normal start, the same loss, no prior

Deviations from the published procedure:
- Training draws batches of users (all pairs of an episode, both sides) with the AdamW, schedule and early stopping on
  validation users that every method here shares; published is full-batch Adam, and V may be pulled towards the reward
  layer of the language model, of which there is none here (weight decay on V and w takes its place).
- Items are standardised, as for all methods. The published reward is divided by 100 under a standard normal V; here V
  starts at a size that gives rewards as large, whatever the dimension, and w_i is kept divided by 10, so that one rate
  moves it faster than V (published: a hundred times faster, which overshoots with batches of users).
- The random start of a new user is one fixed draw, the same for everybody, so that a user does not depend on the batch.
- k = 0: a random start says nothing, so a user without choices gets the mean of the training users' softmax(w_i).
- `l2` > 0 adds a prior that the published procedure lacks: l2 / 2 |w|^2 against the sum over the user's choices.
"""

from collections.abc import Callable
from typing import ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from tacit.baselines import baselines
from tacit.baselines.adaptive import AdaptiveModel, AdaptiveNetwork, Fitted
from tacit.baselines.method import grid
from tacit.baselines.pairs import Pairs, episode_pairs
from tacit.episodes.episode import Episode
from tacit.training.config import ObjectiveConfig

__all__ = ["LoRe", "LoReConfig", "LoReNetwork", "mixture_gradient", "mixture_rewards", "random_basis"]

TABLE_SCALE = 10.0
ADAPT_STEPS, ADAPT_RATE = 500, 0.1


class LoReConfig(BaseModel):
    """Shared rewards B, and the strength of a prior on a new user's w; 0 is published."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    rank: int = Field(default=8, ge=1, le=1024)
    l2: float = Field(default=0.0, ge=0)


def random_basis(rank: int, dim: int) -> Tensor:
    """A start of V, Float[rank dim]: rewards of standardised items about 0.2 in size."""
    return 0.2 * dim**-0.5 * torch.randn(rank, dim)


def mixture_rewards(basis: Tensor, mixture: Tensor, items: Tensor) -> Tensor:
    """Rewards Float[users items]: basis Float[rank dim], mixture Float[users rank], items Float[(users) items dim]."""
    return ((items @ basis.mT) @ mixture.unsqueeze(-1)).squeeze(-1)


def mixture_gradient(w: Tensor, gaps: Tensor, weight: Tensor) -> Tensor:
    """Gradient in w, Float[users rank], of sum_j weight_j * -log sigmoid(softmax(w)^T gaps_j); itself differentiable.

    Shapes: w Float[users rank]; gaps Float[users pairs rank], basis rewards of winner less loser; weight
    Float[users pairs].
    """
    mixture = w.softmax(-1)
    wrong = weight * (-(gaps @ mixture.unsqueeze(-1)).squeeze(-1)).sigmoid()
    slope = -(wrong.unsqueeze(1) @ gaps).squeeze(1)
    return mixture * (slope - (mixture * slope).sum(-1, keepdim=True))


class LoReNetwork(AdaptiveNetwork):
    """V (`basis` Float[rank dim]), w_i / 10 of training users (`table` Float[n_users rank]), a new user's `start`."""

    config: LoReConfig
    start: Tensor

    def __init__(self, dim: int, config: LoReConfig, n_users: int = 1) -> None:
        super().__init__(dim, config, n_users)
        self.steps = ADAPT_STEPS
        self.basis = nn.Parameter(random_basis(config.rank, dim))
        self.table = nn.Parameter(torch.randn(n_users, config.rank) / TABLE_SCALE)
        self.register_buffer("start", torch.randn(config.rank))

    def mixtures(self, users: Tensor | slice) -> Tensor:
        """softmax(w_i) of training users, Float[users rank]."""
        return (TABLE_SCALE * self.table[users]).softmax(-1)

    def loss(self, episode: Episode, objective: ObjectiveConfig, generator: torch.Generator | None) -> Tensor:
        """-log sigmoid of all pairs of the episode under the users' own rows: mean per user, then over users."""
        assert episode.users is not None
        pairs = episode_pairs(episode.through(lambda items: items @ self.basis.mT))
        mixture = self.mixtures(episode.users)
        log_p = logsigmoid((pairs.difference @ mixture.unsqueeze(-1)).squeeze(-1))
        total = pairs.weight.sum(-1)
        return -((log_p * pairs.weight).sum(-1) / total.clamp(min=1e-6)).sum() / (total > 0).sum().clamp(min=1)

    def adapt(self, pairs: Pairs) -> Fitted:
        """`mixture` Float[users rank]: Adam on w alone, in double precision."""
        gaps, weight = pairs.difference.double() @ self.basis.double().mT, pairs.weight.double()

        def gradient(w: Tensor) -> Tensor:
            return mixture_gradient(w, gaps, weight) + self.config.l2 * w

        w = _adam(self.start.double().expand(len(gaps), -1), gradient, steps=self.steps, rate=ADAPT_RATE)
        told = weight.sum(-1, keepdim=True) > 0
        population = self.mixtures(slice(None)).double().mean(0)
        return {"mixture": torch.where(told, w.softmax(-1), population).to(self.basis.dtype)}

    def rewards(self, fitted: Fitted, items: Tensor) -> Tensor:
        """softmax(w)^T V e: Float[users items]."""
        return mixture_rewards(self.basis, fitted["mixture"], items)


@baselines.register("lore")
class LoRe(AdaptiveModel):
    """LoRe as a `PreferenceModel`."""

    name = "lore"
    label, kind = "LoRe", "published"
    network_class, config_class = LoReNetwork, LoReConfig
    grid = grid({}, {"l2": 0.1}, {"l2": 1.0}, {"l2": 0.1, "principal": 32}, training={"learning_rate": 0.01})
    training: ClassVar = {"steps": 600, "learning_rate": 0.01}


def _adam(start: Tensor, gradient: Callable[[Tensor], Tensor], *, steps: int, rate: float) -> Tensor:
    """Adam (Kingma and Ba, 2015) with its usual constants; elementwise, so a batch of users is the users one by one."""
    x, first, second = start.clone(), torch.zeros_like(start), torch.zeros_like(start)
    for step in range(1, steps + 1):
        slope = gradient(x)
        first = torch.lerp(first, slope, 0.1)
        second = torch.lerp(second, slope.square(), 0.001)
        x = x - rate * (first / (1 - 0.9**step)) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
    return x
