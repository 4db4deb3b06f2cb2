"""VPL (variational preference learning): a variational autoencoder whose code z stands for the user.

Source: Poddar et al., 2024 (arXiv 2408.10075), sizes and constants from the authors' public runs. With choices
(w_j, l_j), j = 1 .. k:

    h_j = MLP([e(w_j); e(l_j)]),   a_j = sum_i softmax_i(q_j . k_i / sqrt(d_z)) v_i,   a = mean_j a_j
    q(z | choices) = N(A a, diag exp(B a)),   with no choices N(0, I)
    z <- sqrt(d_z) z / |z|  on its way to the decoder,      r(y; z) = MLP([e(y); z])
    loss = mean -log sigmoid(r(w; z) - r(l; z)) + w_KL anneal(t) KL(q || N(0, I)),   one z per user and step
    anneal(t) = 0.1 + 0.9 (1 - cos(pi (t mod T) / T)) / 2

Deviations:
- Encoder and loss look at different choices (context and targets of an episode, k = 0 among them). The published runs
  have no user without choices; the prior of their loss is what such a user is given here.
- The noise of z is that of q and A a, B a are free (up to 6), as in the paper. The public code shrinks the noise to a
  thousandth, which leaves no doubt, and cuts both to [-1, 1]: with q's own noise, that cut blurs z and costs 3 to 4
  points of accuracy (600 planted users, k = 10).
- P(a over b) averages over 16 fixed antithetic draws of z, and so does the reward (published: one z). The
  normalised mean has no direction at k = 0.
- KL is averaged over users, as in SPL's code; VPL's own sums over the batch and leaves out the 1/2, so its weight is
  2 x batch times ours. T is 500 steps (published: 10 000, of longer runs), d_z 32 and widths 64 (published: 1 024).
- A pair of weight w (a tie is two of 1/2) counts as w equal pairs; targets are scored as ties and rankings are.
- Items are standardised, k varies by user within a batch, and training stops early on validation users: all methods
  here share these.
"""

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

from tacit.baselines import baselines
from tacit.baselines.adaptive import AdaptiveModel, AdaptiveNetwork, Fitted
from tacit.baselines.method import grid
from tacit.baselines.pairs import Pairs
from tacit.episodes.batch import ChoiceBatch
from tacit.episodes.episode import Episode
from tacit.episodes.hashing import step_generator
from tacit.likelihoods.choice import choice_log_prob
from tacit.objectives.reward import nll
from tacit.rewards.protocol import centred
from tacit.training.config import ObjectiveConfig

__all__ = ["VPL", "VPLConfig", "VPLNetwork", "anneal", "gaussian_kl", "normalised"]

BOUND = 6.0
"""Mean and log-variance of q stay within this of 0, for the exponential's sake."""
SLOPE = 0.2
"""Of the leaky rectifiers, for negative numbers."""

LATENT, HIDDEN = 32, 64
CYCLE = 500
"""Steps of an annealing cycle."""
SAMPLES = 16
"""Draws of z to predict with, in antithetic pairs."""


class VPLConfig(BaseModel):
    """Weight of the KL term (published: 3e-6 to 1e-4), and dropout."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kl_weight: float = Field(default=1e-4, ge=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)


def gaussian_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, exp(log_variance)) || N(0, I)) in nats: Float[users] of Float[users latent]."""
    return 0.5 * (mean.square() + log_variance.expm1() - log_variance).sum(-1)


def anneal(step: Tensor, cycle: int) -> Tensor:
    """Factor on the KL weight: from 0.1 up to nearly 1 along half a cosine, again in every cycle."""
    return 0.1 + 0.45 * (1 - torch.cos(math.pi * (step % cycle) / cycle))


def normalised(z: Tensor) -> Tensor:
    """Float[... latent] of length sqrt(latent)."""
    return functional.normalize(z, dim=-1) * math.sqrt(z.shape[-1])


def leaky_mlp(sizes: list[int], dropout: float) -> nn.Sequential:
    """Linear layers of these sizes with leaky rectifiers (and dropout) between them."""
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.LeakyReLU(SLOPE), nn.Dropout(dropout)]
    return nn.Sequential(*layers[:-2])


class SetEncoder(nn.Module):
    """Rows of a user attend to each other; their mean gives the Gaussian of z."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(LATENT, LATENT) for _ in range(3))
        self.gaussian = nn.Linear(LATENT, 2 * LATENT)

    def forward(self, rows: Tensor, weight: Tensor) -> Fitted:
        """`mean` and `log_variance` Float[users latent] of rows Float[users rows latent], weight Float[users rows]."""
        log_weight = weight.log().masked_fill(weight == 0, torch.finfo(rows.dtype).min)  # finite where all is padding
        score = self.query(rows) @ self.key(rows).mT / math.sqrt(rows.shape[-1]) + log_weight.unsqueeze(1)
        mean, log_variance = self.gaussian(weighted_mean(score.softmax(-1) @ self.value(rows), weight)).chunk(2, dim=-1)
        known = (weight > 0).any(-1, keepdim=True)
        return {
            "mean": torch.where(known, mean.clamp(-BOUND, BOUND), 0.0),
            "log_variance": torch.where(known, log_variance.clamp(-BOUND, BOUND), 0.0),
        }


def weighted_mean(rows: Tensor, weight: Tensor) -> Tensor:
    """Float[users dim] of rows Float[users rows dim] and weight Float[users rows]; 0 where there are none."""
    return (rows * weight.unsqueeze(-1)).sum(1) / weight.sum(-1, keepdim=True).clamp(min=1e-12)


class Decoder(nn.Module):
    """r(y; z), an MLP on [e(y); z] whose first layer is split, so that the item half is computed once for all z."""

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.item = nn.Linear(dim, HIDDEN)
        self.user = nn.Linear(LATENT, HIDDEN, bias=False)
        self.middle = nn.Linear(HIDDEN, HIDDEN)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(HIDDEN, 1, bias=False)  # rewards have no origin

    def forward(self, items: Tensor, z: Tensor) -> Tensor:
        """Rewards Float[... users items]; `items` is what `self.item` made of a user's own items, or of shared ones."""
        hidden = functional.leaky_relu(items + self.user(z).unsqueeze(-2), SLOPE)
        hidden = functional.leaky_relu(self.middle(self.dropout(hidden)), SLOPE)
        return self.out(self.conditioned(self.dropout(hidden), z)).squeeze(-1)

    def conditioned(self, hidden: Tensor, z: Tensor) -> Tensor:
        """Where z may come in once more: Float[... users items hidden]."""
        return hidden


class VPLNetwork(AdaptiveNetwork):
    """Encoder, decoder and the annealed loss. `step` counts losses, so that a resumed run anneals on."""

    has_uncertainty: ClassVar[bool] = True
    free_nats: ClassVar[float] = 0.0  # of a user's KL, at no cost
    config: VPLConfig
    step: Tensor

    def __init__(self, dim: int, config: VPLConfig, n_users: int = 1) -> None:
        super().__init__(dim, config)
        self.pair = self.make_pair_network()
        self.encoder = SetEncoder()
        self.decoder = self.make_decoder()
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def make_pair_network(self) -> nn.Module:
        """What turns pairs into rows of the encoder."""
        return leaky_mlp([2 * self.dim, HIDDEN, HIDDEN, LATENT], self.config.dropout)

    def make_decoder(self) -> Decoder:
        """What turns items and z into rewards."""
        return Decoder(self.dim, self.config.dropout)

    def adapt(self, pairs: Pairs) -> Fitted:
        """`mean` and `log_variance` of q, each Float[users latent]."""
        return self.encoder(self.pair(torch.cat([pairs.winner, pairs.loser], dim=-1)), pairs.weight)

    def draw(self, fitted: Fitted, noise: Tensor) -> tuple[Tensor, Tensor]:
        """What the decoder takes, Float[users latent], and the KL of q to the prior (or an estimate), Float[users].

        Standard normal `noise` is Float[users latent], or Float[latent] for all.
        """
        mean, log_variance = fitted["mean"], fitted["log_variance"]
        return normalised(mean + (0.5 * log_variance).exp() * noise), gaussian_kl(mean, log_variance)

    def log_prob(self, target: ChoiceBatch, z: Tensor) -> Tensor:
        """Log p(choice | z), Float[users choices], over what the decoder made of items; z Float[users latent]."""
        scores = self.decoder(target.vectors.flatten(1, 2), z)
        return choice_log_prob(scores.unflatten(-1, target.rank.shape[1:]), target.rank)

    def loss(self, episode: Episode, objective: ObjectiveConfig, generator: torch.Generator | None) -> Tensor:
        """Negative log-likelihood of the targets under one z per user, plus the annealed KL."""
        return self.bound(self.posterior(episode.context), episode, generator)

    def bound(self, fitted: Fitted, episode: Episode, generator: torch.Generator | None) -> Tensor:
        """The loss for users already encoded; while training, every call is one step of annealing."""
        target = episode.through(self.decoder.item).target
        mean = fitted["mean"]
        noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
        z, kl = self.draw(fitted, noise)
        weight = self.config.kl_weight * anneal(self.step, CYCLE)
        if self.training:
            self.step += 1
        return nll(self.log_prob(target, z).unsqueeze(0), target.weight) + weight * kl.clamp(min=self.free_nats).mean()

    def rewards(self, fitted: Fitted, items: Tensor) -> Tensor:
        """Mean reward over draws of z: Float[users items]."""
        items = self.decoder.item(items)
        return torch.stack([self.decoder(items, z) for z in self.draws(fitted)]).mean(0)

    def preference(self, fitted: Fitted, a: Tensor, b: Tensor, *, temperature: float | Tensor = 1.0) -> Tensor:
        """P(a preferred to b), averaged over draws of z: Float[... users pairs]."""
        items = self.decoder.item(torch.cat([a, b], dim=-2))
        gaps = (first - second for first, second in (self.decoder(items, z).chunk(2, -1) for z in self.draws(fitted)))
        return torch.stack([(gap / temperature).sigmoid() for gap in gaps]).mean(0)

    def doubt(self, fitted: Fitted, items: Tensor) -> Tensor:
        """Standard deviation of the centred reward over draws of z: Float[users items]."""
        items = self.decoder.item(items)
        return torch.stack([centred(self.decoder(items, z)) for z in self.draws(fitted)]).std(0, correction=0)

    def draws(self, fitted: Fitted) -> Iterator[Tensor]:
        """Draws of z, each Float[users latent], from the same antithetic noise for every user."""
        half = torch.randn(SAMPLES // 2, LATENT, generator=step_generator(0, 8))
        for noise in torch.cat([half, -half]).to(fitted["mean"]):
            yield self.draw(fitted, noise)[0]

    @torch.no_grad()
    def diagnose(self, episode: Episode) -> dict[str, float]:
        """Dimensions whose mean varies over users by more than 0.01 (Burda et al., 2016): 0 is a collapse."""
        return {"active_units": float((self.posterior(episode.context)["mean"].var(0, correction=0) > 0.01).sum())}


@baselines.register("vpl")
class VPL(AdaptiveModel):
    """VPL as a `PreferenceModel`."""

    name = "vpl"
    label, kind = "VPL", "published"
    network_class, config_class = VPLNetwork, VPLConfig
    grid = grid({}, {"kl_weight": 3e-6}, {"dropout": 0.3}, {"dropout": 0.3, "principal": 32})
