"""The additive encoder: a user is a sum of natural parameters, one pair per choice and latent dimension."""

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from tacit.encoders import encoders
from tacit.encoders.encoder import Encoder, EncoderConfig, Widths, comparison_evidence, mlp
from tacit.encoders.posterior import LatentPosterior
from tacit.episodes.batch import ChoiceBatch

__all__ = ["AdditiveConfig", "AdditiveEncoder"]


class AdditiveConfig(EncoderConfig):
    """Settings of the additive encoder.

    Attributes:
        evidence: what is read of a choice: `reward`, the head's own reward, which carries over to new texts, or
            `network`, one of both items, which can tell types of users apart that no linear step shows.
        hidden: widths of that network's hidden layers.
        variational: whether posteriors carry doubt.
    """

    evidence: Literal["reward", "network"] = "reward"
    hidden: Widths = (128, 128)
    variational: bool = True

    @property
    def reads_reward(self) -> bool:
        """As `evidence` says."""
        return self.evidence == "reward"

    @property
    def has_kl(self) -> bool:
        """Of two Gaussians."""
        return self.variational


class _PairEvidence(nn.Module):
    """(winner, loser, tie) -> [lambda * m, lambda]."""

    def __init__(self, dim: int, hidden: tuple[int, ...], latent: int, dropout: float) -> None:
        super().__init__()
        self.net = mlp([2 * dim + 1, *hidden, 2 * latent], dropout=dropout)

    def forward(self, winner: Tensor, loser: Tensor, tie: Tensor) -> Tensor:
        location, raw = self.net(torch.cat([winner, loser, tie], dim=-1)).chunk(2, dim=-1)
        precision = functional.softplus(raw)
        return torch.cat([precision * location, precision], dim=-1)


class _RewardEvidence(nn.Module):
    """([f, b] of winner, of loser, tie) -> [lambda * m, lambda], read off the reward itself, r(y; z) = f(y) . z + b(y).

    One Newton step of log sigmoid(df . z + db) at the prior mean: gradient df * sigmoid(-db) and, per dimension,
    curvature df^2 * sigmoid(db) * sigmoid(-db), each times a learnt factor. There are no weights of its own to overfit
    a few hundred items with.
    """

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.log_step = nn.Parameter(torch.zeros(latent))
        self.log_curvature = nn.Parameter(torch.zeros(latent))

    def forward(self, winner: Tensor, loser: Tensor, tie: Tensor) -> Tensor:
        change = winner - loser
        shift, bias = change[..., :-1], change[..., -1:]
        surprise = torch.sigmoid(-bias)
        location = shift * surprise * self.log_step.exp()
        precision = shift.square() * surprise * (1 - surprise) * self.log_curvature.exp()
        return torch.cat([location, precision], dim=-1)


@encoders.register("additive")
class AdditiveEncoder(Encoder):
    """z ~ N(mean, scale^2) with mean = S1 / (1 + S2), scale = (1 + S2)^(-1/2), S = sum of weighted evidence.

    That is the product of a standard normal prior with one Gaussian factor N(m_j, 1 / lambda_j) per choice: the prior
    at k = 0, ever narrower with more choices, and bounded beyond the trained k. Evidence comes from `features` where
    given, a bilinear head's network from items to [f, b], else from a network of pairs.
    """

    config_class = AdditiveConfig
    additive: ClassVar[bool] = True

    def __init__(
        self,
        dim: int,
        latent: int,
        config: AdditiveConfig | None = None,
        *,
        features: nn.Module | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(dim, latent, features=features)
        config = config or AdditiveConfig()
        self.evidence_dim = 2 * latent
        self.has_uncertainty = config.variational
        self.pair = _RewardEvidence(latent) if features else _PairEvidence(dim, config.hidden, latent, dropout)

    def compare(self, choices: ChoiceBatch) -> Tensor:
        """[lambda * m, lambda] of each choice: Float[users choices 2*latent]."""
        return comparison_evidence(self.pair, choices)

    def posterior(self, rows: Tensor, weight: Tensor) -> LatentPosterior:
        """The Gaussian product; exact for any number of rows, including one row that is already a sum."""
        first, second = torch.einsum("ure,ur->ue", rows, weight).chunk(2, dim=-1)
        precision = 1 + second.clamp(min=0)
        mean, scale = first / precision, precision.rsqrt()
        return LatentPosterior(mean, scale if self.has_uncertainty else None)
