"""The encoder that learns nothing of anybody: the pooled control, with everything else unchanged."""

from typing import ClassVar

from torch import Tensor

from tacit.encoders.encoder import Encoder
from tacit.encoders.posterior import LatentPosterior
from tacit.episodes.batch import ChoiceBatch

__all__ = ["NullEncoder"]


class NullEncoder(Encoder):
    """A latent of size 0: every user is the population."""

    additive: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self.latent = 0
        self.evidence_dim = 0
        self.has_uncertainty = False

    def compare(self, choices: ChoiceBatch) -> Tensor:
        """Float[users choices 0]."""
        return choices.vectors.new_zeros(choices.n_users, choices.n_choices, 0)

    def posterior(self, rows: Tensor, weight: Tensor) -> LatentPosterior:
        """A point in a space of no dimensions."""
        return LatentPosterior(rows.new_zeros(rows.shape[0], 0))
