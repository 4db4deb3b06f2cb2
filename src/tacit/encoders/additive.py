"""The additive encoder: a user is a sum of natural parameters, one pair per choice and latent dimension."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from tacit.encoders.encoder import Encoder, comparison_evidence, mlp
from tacit.encoders.posterior import LatentPosterior
from tacit.episodes.batch import ChoiceBatch

__all__ = ["AdditiveEncoder"]


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


class AdditiveEncoder(Encoder):
    """z ~ N(mean, scale^2) with mean = S1 / (1 + S2), scale = (1 + S2)^(-1/2), S = sum of weighted evidence.

    That is the product of a standard normal prior with one Gaussian factor N(m_j, 1 / lambda_j) per choice: the prior
    at k = 0, ever narrower with more choices, and bounded beyond the trained k. `refine` passes (mean, scale) through a
    residual MLP, for posteriors that are not Gaussian in these coordinates. `features`, a bilinear head's
    network from items to [f, b], is shared with that head where given: evidence then comes from the reward itself, not
    from a network of pairs.
    """

    additive: ClassVar[bool] = True

    def __init__(
        self,
        dim: int,
        latent: int,
        *,
        hidden: tuple[int, ...] = (128, 128),
        variational: bool = True,
        refine: bool = False,
        dropout: float = 0.0,
        features: nn.Module | None = None,
    ) -> None:
        super().__init__(features)
        self.latent = latent
        self.evidence_dim = 2 * latent
        self.has_uncertainty = variational
        self.pair = _PairEvidence(dim, hidden, latent, dropout) if features is None else _RewardEvidence(latent)
        self.refine = mlp([2 * latent, max(hidden, default=64), 2 * latent], zero_last=True) if refine else None

    def compare(self, choices: ChoiceBatch) -> Tensor:
        """[lambda * m, lambda] of each choice: Float[users choices 2*latent]."""
        return comparison_evidence(self.pair, choices)

    def posterior(self, rows: Tensor, weight: Tensor) -> LatentPosterior:
        """The Gaussian product; exact for any number of rows, including one row that is already a sum."""
        first, second = torch.einsum("ure,ur->ue", rows, weight).chunk(2, dim=-1)
        precision = 1 + second.clamp(min=0)
        mean, scale = first / precision, precision.rsqrt()
        if self.refine is not None:
            shift, log_factor = self.refine(torch.cat([mean, scale], dim=-1)).chunk(2, dim=-1)
            mean, scale = mean + shift, scale * log_factor.exp()
        return LatentPosterior(mean, scale if self.has_uncertainty else None)
