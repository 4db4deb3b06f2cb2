"""The paper's encoder: choices attend to each other, a learnt query reads the posterior off them."""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from tacit.encoders import encoders
from tacit.encoders.encoder import Encoder, EncoderConfig, comparison_evidence, mlp
from tacit.encoders.posterior import LatentPosterior
from tacit.episodes.batch import ChoiceBatch

__all__ = ["AttentionConfig", "AttentionEncoder"]

HIDDEN = (128, 128)
HEADS, LAYERS = 4, 2


class AttentionConfig(EncoderConfig):
    """Settings of the attention encoder: the size of a choice's row."""

    width: int = Field(default=64, ge=HEADS, le=8192, multiple_of=HEADS)

    @property
    def has_kl(self) -> bool:
        """Of two Gaussians."""
        return True


class _PairRow(nn.Module):
    def __init__(self, dim: int, width: int, dropout: float) -> None:
        super().__init__()
        self.net = mlp([2 * dim + 1, *HIDDEN, width], dropout=dropout)

    def forward(self, winner: Tensor, loser: Tensor, tie: Tensor) -> Tensor:
        return self.net(torch.cat([winner, loser, tie], dim=-1))


class _Block(nn.Module):
    """Pre-norm attention over weighted rows: a row of weight w counts like w equal rows."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.feed = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, rows: Tensor, log_weight: Tensor) -> Tensor:
        users, count, width = rows.shape
        query, key, value = self.project(self.norm(rows)).view(users, count, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=log_weight[:, None, None, :])
        rows = rows + self.out(mixed.transpose(1, 2).reshape(users, count, width))
        return rows + self.feed(rows)


@encoders.register("attention")
class AttentionEncoder(Encoder):
    """Self-attention over choices (Kobalczyk et al., arXiv 2412.13998), with two mends.

    A learnt prior row is always present, so k = 0 is defined and the reading is an average that stays bounded at any k
    (the published sum grows with k). Weights enter as log-weights in the attention, so ageing and padding are exact.
    """

    config_class = AttentionConfig
    additive: ClassVar[bool] = False
    has_uncertainty = True

    def __init__(
        self,
        dim: int,
        latent: int,
        config: AttentionConfig | None = None,
        *,
        features: nn.Module | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(dim, latent)
        self.evidence_dim = width = (config or AttentionConfig()).width
        self.pair = _PairRow(dim, width, dropout)
        self.prior = nn.Parameter(torch.zeros(width))
        self.blocks = nn.ModuleList(_Block(width) for _ in range(LAYERS))
        self.read = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, 2 * latent))

    def compare(self, choices: ChoiceBatch) -> Tensor:
        """One row per choice: Float[users choices width]."""
        return comparison_evidence(self.pair, choices)

    def posterior(self, rows: Tensor, weight: Tensor) -> LatentPosterior:
        """Attend over the prior row and the rows, read z off the prior's place."""
        users = rows.shape[0]
        rows = torch.cat([self.prior.to(rows.dtype).expand(users, 1, -1), rows], dim=1)
        log_weight = torch.cat([weight.new_zeros(users, 1), weight.log()], dim=1).to(rows.dtype)
        for block in self.blocks:
            rows = block(rows, log_weight)
        mean, raw = self.read(rows[:, 0]).chunk(2, dim=-1)
        return LatentPosterior(mean, 0.01 + functional.softplus(raw))
