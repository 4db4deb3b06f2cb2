"""SPL (swap-guided preference learning): VPL against collapse, by users who choose the opposite of everything.

Source: Kim and Kim, 2026 (arXiv 2603.12595), sizes and constants from the authors' public runs; the flow is the inverse
autoregressive one of Kingma et al., 2016 (arXiv 1606.04934). As VPL (see `tacit.baselines.vpl`), with four changes,
g = MLP(e) being a code of one item:

    rows     h_j = [g(w_j); g(l_j)],  so that the swapped annotator's are [g(l_j); g(w_j)]
    guide    (1 + cos(mu, mu_swap)) / 2 + eta (1 - cos(log var, log var_swap)) / 2,   no gradient into the swapped
    flow     z_0 ~ N(mu, var),   z <- m(z, d) + exp(s(z, c) / 2) z,   |m| <= 1, |s| <= 5,   m_i and s_i of z_1 .. z_i-1
             d = mean_j (g(w_j) - g(l_j)) / 2 turns with a swap,   c = mean_j (g(w_j) + g(l_j)) / 2 does not
    decoder  h <- gamma(z) h + delta(z),   gamma = 1 + tanh(.) / 2,   delta = tanh(.) / 2,   after the second layer
    loss     NLL + w_KL anneal max(1 nat, KL) + w_guide guide,   KL = log q(z_0) - sum s / 2 - log N(z; 0, I), one draw

Unlike in VPL, z is not normalised. Deviations, besides those of VPL but the normalisation:
- A user without choices keeps z = z_0 ~ N(0, I): no flow, no guide, and a KL of exactly 0.
- The autoregressive networks have one hidden layer (published: 3) and dimensions are reversed after each step of the
  flow, as in Kingma et al. (published: shuffled); m is free of biases, as published.
- The decoder's first layer is as wide as its second (published: half).
"""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from tacit.baselines import baselines
from tacit.baselines.adaptive import Fitted
from tacit.baselines.method import grid
from tacit.baselines.pairs import Pairs, pairs_of
from tacit.baselines.vpl import HIDDEN, LATENT, SLOPE, VPL, Decoder, VPLConfig, VPLNetwork, leaky_mlp, weighted_mean
from tacit.episodes.episode import Episode
from tacit.training.config import ObjectiveConfig

__all__ = ["SPL", "FiLMDecoder", "InverseAutoregressiveFlow", "SPLConfig", "SPLNetwork", "guide"]


ETA = 0.1
"""Of the variance's part in the guide."""
FLOW_STEPS = 2


class SPLConfig(VPLConfig):
    """VPL's settings and the weight of the guide."""

    kl_weight: float = Field(default=3e-6, ge=0)
    guide_weight: float = Field(default=1e-5, ge=0)


def guide(fitted: Fitted, swapped: Fitted, *, eta: float) -> Tensor:
    """0 where a swap turns the mean round and leaves the variance alone, 1 + eta at worst: Float[users]."""
    turned = functional.cosine_similarity(fitted["mean"], swapped["mean"], dim=-1)
    kept = functional.cosine_similarity(fitted["log_variance"], swapped["log_variance"], dim=-1)
    return 0.5 * (1 + turned) + eta * 0.5 * (1 - kept)


class _Autoregressive(nn.Module):
    """Float[users latent] whose i-th number is a function of the context and of z_1 .. z_i-1."""

    def __init__(self, latent: int, context: int, *, bias: bool) -> None:
        super().__init__()
        self.z = nn.Linear(latent, 2 * latent, bias=bias)
        self.context = nn.Linear(context, 2 * latent, bias=False)
        self.out = nn.Linear(2 * latent, latent, bias=bias)

    def forward(self, z: Tensor, context: Tensor) -> Tensor:
        dimension = torch.arange(z.shape[-1], device=z.device)
        reach = (dimension - 1).repeat(2)  # the last dimension that a hidden unit sees; -1 sees the context alone
        sees, seen = reach.unsqueeze(1) >= dimension, dimension.unsqueeze(1) > reach
        hidden = functional.linear(z, self.z.weight * sees, self.z.bias) + self.context(context)
        return functional.linear(functional.leaky_relu(hidden, SLOPE), self.out.weight * seen, self.out.bias)


class InverseAutoregressiveFlow(nn.Module):
    """A few steps z <- m + exp(s / 2) z; dimensions are reversed after each."""

    def __init__(self, latent: int, steps: int) -> None:
        super().__init__()
        self.shift = nn.ModuleList(_Autoregressive(latent, latent // 2, bias=False) for _ in range(steps))
        self.scale = nn.ModuleList(_Autoregressive(latent, latent // 2, bias=True) for _ in range(steps))

    def forward(self, z: Tensor, turned: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
        """The new z Float[users latent], log |det dz / dz_0| Float[users]; contexts are Float[users latent/2]."""
        log_det = z.new_zeros(z.shape[:-1])
        for shift, scale in zip(self.shift, self.scale, strict=True):
            log_scale = 0.5 * scale(z, kept).clamp(-5, 5)
            z = (shift(z, turned).clamp(-1, 1) + log_scale.exp() * z).flip(-1)
            log_det = log_det + log_scale.sum(-1)
        return z, log_det


class FiLMDecoder(Decoder):
    """VPL's decoder, its second layer modulated by z."""

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__(dim, dropout)
        self.film = leaky_mlp([LATENT, 2 * HIDDEN, 2 * HIDDEN], dropout)

    def modulation(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Gamma in (1/2, 3/2) and delta in (-1/2, 1/2), each Float[... users hidden]."""
        gamma, delta = (0.5 * self.film(z).tanh()).chunk(2, dim=-1)
        return 1 + gamma, delta

    def conditioned(self, hidden: Tensor, z: Tensor) -> Tensor:
        """FiLM and one more rectifier."""
        gamma, delta = self.modulation(z)
        return functional.leaky_relu(torch.addcmul(delta.unsqueeze(-2), gamma.unsqueeze(-2), hidden), SLOPE)


class SPLNetwork(VPLNetwork):
    """VPL's network with item codes, the flow, the FiLM decoder and the guide."""

    free_nats: ClassVar[float] = 1.0
    config: SPLConfig  # type: ignore[assignment]

    def __init__(self, dim: int, config: SPLConfig, n_users: int = 1) -> None:
        super().__init__(dim, config)
        self.flow = InverseAutoregressiveFlow(LATENT, FLOW_STEPS)

    def make_pair_network(self) -> nn.Module:
        """g, the code of one item: half a row."""
        return leaky_mlp([self.dim, HIDDEN, HIDDEN, LATENT // 2], self.config.dropout)

    def make_decoder(self) -> Decoder:
        """The FiLM decoder."""
        return FiLMDecoder(self.dim, self.config.dropout)

    def adapt(self, pairs: Pairs) -> Fitted:
        """`mean`, `log_variance` Float[users latent]; for the flow `turned`, `kept` Float[users latent/2], `known`."""
        return self._encoded(self.pair(pairs.winner), self.pair(pairs.loser), pairs.weight)

    def _encoded(self, winner: Tensor, loser: Tensor, weight: Tensor) -> Fitted:
        gaussian = self.encoder(torch.cat([winner, loser], dim=-1), weight)
        return {
            **gaussian,
            "turned": weighted_mean((winner - loser) / 2, weight),
            "kept": weighted_mean((winner + loser) / 2, weight),
            "known": (weight > 0).any(-1, keepdim=True),
        }

    def draw(self, fitted: Fitted, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The end of the flow, Float[users latent], and the log-ratio of q to the prior there, Float[users]."""
        known, log_variance = fitted["known"], fitted["log_variance"]
        start = fitted["mean"] + (0.5 * log_variance).exp() * noise
        end, log_det = self.flow(start, fitted["turned"], fitted["kept"])
        z = torch.where(known, end, start)
        log_ratio = 0.5 * (z.square() - noise.square() - log_variance).sum(-1)
        return z, log_ratio - torch.where(known.squeeze(-1), log_det, 0.0)

    def loss(self, episode: Episode, objective: ObjectiveConfig, generator: torch.Generator | None) -> Tensor:
        """VPL's loss with this KL, plus the guide over users with choices."""
        codes = pairs_of(episode.through(self.pair).context)
        fitted = self._encoded(codes.winner, codes.loser, codes.weight)
        with torch.no_grad():
            swapped = self._encoded(codes.loser, codes.winner, codes.weight)
        known = fitted["known"].squeeze(-1)
        guided = (guide(fitted, swapped, eta=ETA) * known).sum() / known.sum().clamp(min=1)
        return self.bound(fitted, episode, generator) + self.config.guide_weight * guided


@baselines.register("spl")
class SPL(VPL):
    """SPL as a `PreferenceModel`."""

    name = "spl"
    label, kind = "SPL", "published"
    network_class, config_class = SPLNetwork, SPLConfig
    grid = grid({}, {"kl_weight": 1e-4}, {"dropout": 0.3}, {"dropout": 0.3, "principal": 32})
