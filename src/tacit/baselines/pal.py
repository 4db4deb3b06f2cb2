"""PAL (pluralistic alignment): a user is a mixture of K shared prototypes, and likes items that lie near the mixture.

Source: Chen, Chen, Rege and Vinayak, 2024 (arXiv 2406.08469): ideal points a_i(x) = sum_k s_ik g_k(x) with
s_i = softmax(w_i), a projection f of the item embedding, and

    r_i(y) = exp(t) cos(a_i, f(y))        P(y_w over y_l) = sigmoid(r_i(y_w) - r_i(y_l))

Prototypes g, projection f (an MLP of two layers), temperature t and one row w_i per training user minimise the
cross-entropy of the training pairs together. For a new user all is frozen but w: 20 steps of AdamW at 5e-3.

Deviations:
- Prototypes are free vectors g_k, not functions g_k(x) of the prompt: an item here is a prompt with its response,
  embedded as one, and nothing embeds the prompt alone.
- Training rows start equal (published: at random), and one learning rate serves all parts (published: 1e-4 for f, 5e-3
  for w, 0.1 for t).
- A new user starts from the mean of the training users' w, and stays there without choices; the published start is
  drawn at random, which would make k = 0 a different stranger every time.
- A new user's epoch is one step on all their pairs (published: small batches), at a constant rate, all users of a batch
  at once. AdamW acts on each number alone and losses are per user, so this equals separate runs.
- Training stops early on validation users, and items are standardised: all methods here share both.

One step per epoch moves w by about 20 * 5e-3 = 0.1, whatever was chosen: enough where w stayed small in training,
little where it did not.
"""

import math
from typing import ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

from tacit.baselines import baselines
from tacit.baselines.adaptive import AdaptiveModel, AdaptiveNetwork, Fitted
from tacit.baselines.method import grid
from tacit.baselines.pairs import Pairs, episode_pairs
from tacit.encoders.encoder import mlp
from tacit.episodes.episode import Episode
from tacit.errors import ChoiceError
from tacit.objectives.reward import nll
from tacit.training.config import ObjectiveConfig

__all__ = ["PAL", "PALConfig", "PALNetwork"]

START_SCALE = 3.0
"""exp(t) before training: sure enough to learn from, not so sure that the first projection is overfitted."""


HIDDEN, WIDTH = 128, 64
"""Of the projection f, and of the space where cosines are taken."""
ADAPT_STEPS, ADAPT_RATE = 20, 5e-3


class PALConfig(BaseModel):
    """Prototypes K (2 is published), and dropout inside the projection."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    prototypes: int = Field(default=2, ge=1, le=1024)
    dropout: float = Field(default=0.0, ge=0, lt=1)


class PALNetwork(AdaptiveNetwork):
    """Prototypes Float[prototypes width], projection, temperature and the table Float[n_users prototypes]."""

    config: PALConfig

    def __init__(self, dim: int, config: PALConfig, n_users: int = 1) -> None:
        super().__init__(dim, config, n_users)
        self.steps, self.rate = ADAPT_STEPS, ADAPT_RATE
        self.project = mlp([dim, HIDDEN, WIDTH], dropout=config.dropout)
        self.prototypes = nn.Parameter(torch.randn(config.prototypes, WIDTH) / math.sqrt(WIDTH))
        self.log_scale = nn.Parameter(torch.tensor(math.log(START_SCALE)))
        self.table = nn.Parameter(torch.zeros(n_users, config.prototypes))

    def rewards(self, fitted: Fitted, items: Tensor) -> Tensor:
        """exp(t) cos(a, f(y)): Float[users items]."""
        return self._along(fitted["mixture"], self._directions(items))

    def loss(self, episode: Episode, objective: ObjectiveConfig, generator: torch.Generator | None) -> Tensor:
        """Cross-entropy of the training users' choices, context and target alike, under their own rows."""
        if episode.users is None:
            raise ChoiceError("PAL keeps a row per training user; give episodes that say whose they are")
        pairs = episode_pairs(episode.through(self._directions))
        gap = self._along(self.table[episode.users].softmax(-1), pairs.difference)
        return nll(functional.logsigmoid(gap).unsqueeze(0), pairs.weight)

    def adapt(self, pairs: Pairs) -> Fitted:
        """`mixture` Float[users prototypes], softmax(w): the mean of the table moved by the published steps.

        Given f, a gap depends on s = softmax(w) alone, exp(t) (s . G d) / |s G| with G the prototypes and d the
        difference of directions, so a step costs O(prototypes) per pair. In float64: Adam enlarges rounding errors.
        """
        prototypes = self.prototypes.double()
        difference = self._directions(pairs.winner).double() - self._directions(pairs.loser).double()
        along = self.log_scale.exp() * difference @ prototypes.T  # [users pairs prototypes]
        share = pairs.weight / pairs.weight.double().sum(-1, keepdim=True).clamp(min=1e-12)
        start = self.table.double().mean(0).expand(len(along), -1)
        with torch.enable_grad():
            w = start.clone().requires_grad_()  # without choices the gradient is 0, and w stays
            optimizer = torch.optim.AdamW([w], lr=self.rate, weight_decay=0.0)
            for _ in range(self.steps):
                mixture = w.softmax(-1)
                norm = (mixture @ prototypes).norm(dim=-1, keepdim=True).clamp(min=1e-12)
                gap = (along @ mixture.unsqueeze(-1)).squeeze(-1) / norm
                (gradient,) = torch.autograd.grad(-(share * functional.logsigmoid(gap)).sum(), w)
                w.grad = gradient
                optimizer.step()
        return {"mixture": w.detach().softmax(-1).to(self.prototypes.dtype)}

    def _along(self, mixture: Tensor, directions: Tensor) -> Tensor:
        """How far directions Float[(users) items width] go towards the ideal points: Float[users items]."""
        ideal = functional.normalize(mixture @ self.prototypes, dim=-1)
        return self.log_scale.exp() * (directions @ ideal.unsqueeze(-1)).squeeze(-1)

    def _directions(self, items: Tensor) -> Tensor:
        """f(y) on the unit sphere: Float[... items width]."""
        return functional.normalize(self.project(items), dim=-1)


@baselines.register("pal")
class PAL(AdaptiveModel):
    """PAL as a `PreferenceModel`."""

    name = "pal"
    label, kind = "PAL", "published"
    network_class, config_class = PALNetwork, PALConfig
    grid = grid({}, {"prototypes": 8}, {"prototypes": 8, "dropout": 0.3}, {"prototypes": 8, "principal": 32})
    training: ClassVar = {"steps": 400}
