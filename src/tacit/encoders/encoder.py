"""The encoder contract: choices -> rows of evidence -> posterior over z. Permutation invariant, defined at k = 0."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Annotated, Any, ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from tacit.encoders.posterior import LatentPosterior
from tacit.episodes.batch import ChoiceBatch

__all__ = ["Encoder", "EncoderConfig", "Widths", "comparison_evidence", "mlp"]

Widths = Annotated[tuple[Annotated[int, Field(ge=1, le=8192)], ...], Field(max_length=16)]
"""Sizes of hidden layers."""


class EncoderConfig(BaseModel):
    """An encoder's settings; a subclass adds its own, and says what follows from them for the model around it."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @property
    def personal(self) -> bool:
        """Whether choices are read at all; the pooled control's are not."""
        return True

    @property
    def reads_reward(self) -> bool:
        """Whether evidence is read off the head's own [f, b], which a bilinear head has."""
        return False

    @property
    def on_base(self) -> bool:
        """Whether, unless told otherwise, the pooled reward is trained first and kept as b(y)."""
        return False

    @property
    def members(self) -> int:
        """How many networks on one base are joined into one, unless told otherwise; 1 = they cannot be."""
        return 1

    @property
    def has_kl(self) -> bool:
        """Whether two posteriors have a KL divergence in closed form, which the ELBO needs."""
        return False


class Encoder(nn.Module, ABC):
    """Maps choices to a `LatentPosterior` through one row of evidence per choice.

    The split in two is what user states live on: `evidence` is computed once per choice and kept, `posterior`
    is cheap. An `additive` encoder needs only the weighted sum of the rows; others keep them all.

    A reward network builds every registered encoder by the same call:

        encoder_class(dim, latent, config, features=features, dropout=dropout)

    Args:
        dim: size of a standardised item vector.
        latent: size of z that is asked for.
        config: an instance of `config_class`; None = its defaults.
        features: the head's network from items to [f, b], Float[... latent+1] of r(y; z) = f(y) . z + b(y); given where
            `config.reads_reward`, else None.
        dropout: of networks of one's own.

    Attributes:
        latent: size of z.
        evidence_dim: size of one row of evidence.
        has_uncertainty: whether posteriors carry a scale.
        features: what items are turned into before they are compared, shared with the head; None = nothing.
    """

    config_class: ClassVar[type[EncoderConfig]] = EncoderConfig
    additive: ClassVar[bool]
    latent: int
    evidence_dim: int
    has_uncertainty: bool

    def __init__(
        self, dim: int, latent: int, config: Any = None, *, features: nn.Module | None = None, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.latent, self.features = latent, features

    @abstractmethod
    def compare(self, choices: ChoiceBatch) -> Tensor:
        """Float[users choices evidence], of each choice alone, over the features of items; no weights are applied."""

    def evidence(self, choices: ChoiceBatch) -> Tensor:
        """The same over items: Float[users choices evidence]."""
        if self.features is not None:
            choices = choices.with_vectors(self.features(choices.vectors))
        return self.compare(choices)

    @abstractmethod
    def posterior(self, rows: Tensor, weight: Tensor) -> LatentPosterior:
        """Pool rows Float[users rows evidence] with weight Float[users rows] (0 = absent; rows may be 0)."""

    def forward(self, choices: ChoiceBatch) -> LatentPosterior:
        """The posterior given these choices."""
        return self.posterior(self.evidence(choices), choices.weight)


def mlp(sizes: list[int], *, dropout: float = 0.0, zero_last: bool = False) -> nn.Sequential:
    """Linear layers of these sizes with GELU (and dropout) between them; `zero_last` starts the output at 0."""
    layers: list[nn.Module] = []
    for i in range(len(sizes) - 1):
        layers.append(nn.Linear(sizes[i], sizes[i + 1]))
        if i < len(sizes) - 2:
            layers.append(nn.GELU())
            if dropout > 0:
                layers.append(nn.Dropout(dropout))
    if zero_last:
        nn.init.zeros_(layers[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(layers[-1].bias)  # type: ignore[arg-type]
    return nn.Sequential(*layers)


def comparison_evidence(network: Callable[[Tensor, Tensor, Tensor], Tensor], choices: ChoiceBatch) -> Tensor:
    """Apply a pair network to every comparison of every choice: Float[users choices evidence].

    `network(winner, loser, tie)` takes Float[n dim], Float[n dim], Float[n 1] and returns Float[n evidence]. A tie is
    made symmetric by averaging both orders. A ranking is the sum over its Plackett-Luce stages, a stage (one item
    chosen from all that are ranked no better) being the mean of its comparisons; so a ranking of two is a pair.
    """
    users, count, slots, dim = choices.vectors.shape
    if slots == 2:
        flat = choices.vectors.reshape(users * count, 2, dim)
        tied = (choices.rank[..., 1] == 0).reshape(users * count, 1)
        rows = _compare(network, flat[:, 0], flat[:, 1], tied)
        return rows.reshape(users, count, rows.shape[-1])
    first, second = torch.triu_indices(slots, slots, offset=1, device=choices.rank.device)
    better, worse = choices.rank[..., first], choices.rank[..., second]
    real = worse >= 0
    not_better = (choices.rank.unsqueeze(-2) >= better.unsqueeze(-1)).sum(-1)  # items of the stage, padding excluded
    share = real / (not_better - 1).clamp(min=1)
    pairs = choices.vectors[:, :, torch.stack([first, second], dim=1)].reshape(-1, 2, dim)
    rows = _compare(network, pairs[:, 0], pairs[:, 1], (better == worse).reshape(-1, 1))
    rows = rows.reshape(users, count, len(first), rows.shape[-1])
    return (rows * share.unsqueeze(-1).to(rows.dtype)).sum(2)


def _compare(
    network: Callable[[Tensor, Tensor, Tensor], Tensor], winner: Tensor, loser: Tensor, tied: Tensor
) -> Tensor:
    tie = tied.to(winner.dtype)
    rows = network(winner, loser, tie)
    if bool(tied.any()):
        rows = rows + 0.5 * tie * (network(loser, winner, tie) - rows)
    return rows
