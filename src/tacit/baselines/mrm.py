"""MRM: LoRe's model, with one start of the user weights learnt so that a few gradient steps from it suit anybody.

Source: Cai et al., "One Adapts to Any: Meta Reward Modeling for Personalized LLM Alignment", 2026 (arXiv 2601.18731).

    r_i(y) = softmax(w_i)^T V e(y)        V in R^{B x d}
    adapt       w_i <- w_i - inner_lr * gradient of (mean_j -log sigmoid gap_ij), inner_steps times from w_i = w
    training    MAML over w and V: L_i is the mean loss of w_i on other choices of the same user, and
                min  sum_i sigmoid((L_i - t) / gamma) * L_i       t = the (1 - tail) quantile of the batch's losses
                (the robust objective: users who are hard to fit count more; tail = gamma = 0.5)

The inner step is written in closed form, so that autograd takes its exact second-order derivative.

Deviations from the published procedure:
- Inner steps: the paper's plain gradient steps (its code takes Adam steps in the inner loop, of the same size whatever
  the gradient). Published runs take one of 1e-3 (`PUBLISHED_INNER`), which moves no weight by more than a thousandth
  or so, and so reports its own adaptation-off; the default here takes steps that do something. `inner_lr=0` is the
  adaptation-off control of any setting.
- A chain of linear layers without activations, as published, is one matrix: V. Items are standardised, as for all
  methods.
- k is uniform from 0 in training, as for all methods (published: all training choices of a user), so that the start
  is fitted as a cold start as well; users without choices to adapt to stand at w. k = 0 is w.
- The shared AdamW, schedule and early stopping on validation users (published: Adam 1e-3, the best test accuracy).
  The objective is divided by the number of users in the batch.
"""

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from tacit.baselines import baselines
from tacit.baselines.adaptive import AdaptiveModel, AdaptiveNetwork, Fitted
from tacit.baselines.lore import mixture_gradient, mixture_rewards, random_basis
from tacit.baselines.method import grid
from tacit.baselines.pairs import Pairs, pairs_of
from tacit.episodes.episode import Episode
from tacit.training.config import ObjectiveConfig

__all__ = ["MRM", "PUBLISHED_INNER", "MRMConfig", "MRMNetwork", "robust_objective"]

PUBLISHED_INNER = {"inner_lr": 1e-3, "inner_steps": 1}
"""The adaptation of the published runs, as settings of `MRMConfig`."""


TAIL, GAMMA = 0.5, 0.5


class MRMConfig(BaseModel):
    """Sizes of the model and the inner steps.

    Attributes:
        rank: B, shared rewards.
        inner_lr, inner_steps: gradient steps on a user's w, in training and after; 0 is adaptation-off.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    rank: int = Field(default=8, ge=1, le=1024)
    inner_lr: float = Field(default=2.0, ge=0)
    inner_steps: int = Field(default=5, ge=0, le=1000)


def robust_objective(losses: Tensor, *, tail: float, gamma: float) -> Tensor:
    """Mean of sigmoid((L - t) / gamma) * L over users' losses Float[users], t their (1 - tail) quantile."""
    threshold = losses.quantile(1 - tail)
    return (((losses - threshold) / gamma).sigmoid() * losses).mean()


class MRMNetwork(AdaptiveNetwork):
    """V (`basis` Float[rank dim]) and the shared start w (`start` Float[rank])."""

    config: MRMConfig

    def __init__(self, dim: int, config: MRMConfig, n_users: int = 1) -> None:
        super().__init__(dim, config)
        self.basis = nn.Parameter(random_basis(config.rank, dim))
        self.start = nn.Parameter(torch.randn(config.rank))

    def adapted(self, pairs: Pairs) -> Tensor:
        """Every user's w after the inner steps, Float[users rank]; differentiable in both parameters."""
        gaps = pairs.difference @ self.basis.mT
        share = pairs.weight / pairs.weight.sum(-1, keepdim=True).clamp(min=1e-6)
        w = self.start.expand(len(gaps), -1)
        for _ in range(self.config.inner_steps):
            w = w - self.config.inner_lr * mixture_gradient(w, gaps, share)
        return w

    def loss(self, episode: Episode, objective: ObjectiveConfig, generator: torch.Generator | None) -> Tensor:
        """The robust objective over users of their mean -log sigmoid on targets, after steps on their contexts."""
        mixture, target = self.adapted(pairs_of(episode.context)).softmax(-1), pairs_of(episode.target)
        log_p = logsigmoid(mixture_rewards(self.basis, mixture, target.difference))
        total = target.weight.sum(-1)
        present = total > 0
        if not bool(present.any()):
            return log_p.sum() * 0.0
        losses = -((log_p * target.weight).sum(-1)[present] / total[present])
        return robust_objective(losses, tail=TAIL, gamma=GAMMA)

    def adapt(self, pairs: Pairs) -> Fitted:
        """`mixture` Float[users rank]."""
        return {"mixture": self.adapted(pairs).softmax(-1)}

    def rewards(self, fitted: Fitted, items: Tensor) -> Tensor:
        """softmax(w)^T V e: Float[users items]."""
        return mixture_rewards(self.basis, fitted["mixture"], items)


@baselines.register("mrm")
class MRM(AdaptiveModel):
    """MRM as a `PreferenceModel`."""

    name = "mrm"
    label, kind = "MRM", "published"
    network_class, config_class = MRMNetwork, MRMConfig
    grid = grid(dict(PUBLISHED_INNER), {}, {"rank": 4}, {"principal": 32})
