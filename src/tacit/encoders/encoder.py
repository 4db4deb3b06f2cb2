"""The encoder contract: choices -> rows of evidence -> posterior over z. Permutation invariant, defined at k = 0."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from tacit.encoders.posterior import LatentPosterior
from tacit.episodes.batch import ChoiceBatch

__all__ = ["Encoder", "comparison_evidence", "mlp"]


class Encoder(nn.Module, ABC):
    """Maps choices to a `LatentPosterior` through one row of evidence per choice.

    The split in two is what user states live on: `evidence` is computed once per choice and kept, `posterior`
    is cheap. An `additive` encoder needs only the weighted sum of the rows; others keep them all.

    Attributes:
        latent: size of z.
        evidence_dim: size of one row of evidence.
        has_uncertainty: whether posteriors carry a scale.
        features: what items are turned into before they are compared, shared with the head; None = nothing.
    """

    additive: ClassVar[bool]
    latent: int
    evidence_dim: int
    has_uncertainty: bool

    def __init__(self, features: nn.Module | None = None) -> None:
        super().__init__()
        self.features = features

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
