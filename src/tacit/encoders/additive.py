"""The additive encoder: a user is a sum of natural parameters, (lambda * m, lambda) per choice and dimension."""

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


class AdditiveEncoder(Encoder):
    """z ~ N(mean, scale^2) with mean = S1 / (1 + S2), scale = (1 + S2)^(-1/2), S = sum of weighted evidence.

    That is the product of a standard normal prior with one Gaussian factor N(m_j, 1 / lambda_j) per choice: the prior
    at k = 0, ever narrower with more choices, and bounded beyond the trained k. `refine` passes (mean, scale) through a
    residual MLP, for posteriors that are not Gaussian in these coordinates.
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
    ) -> None:
        super().__init__()
        self.latent = latent
        self.evidence_dim = 2 * latent
        self.has_uncertainty = variational
        self.pair = _PairEvidence(dim, hidden, latent, dropout)
        self.refine = mlp([2 * latent, max(hidden, default=64), 2 * latent], zero_last=True) if refine else None

    def evidence(self, choices: ChoiceBatch) -> Tensor:
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
