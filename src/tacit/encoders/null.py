"""The encoder that learns nothing of anybody: the pooled control, with everything else unchanged."""

from typing import Any, ClassVar

from torch import Tensor

from tacit.encoders import encoders
from tacit.encoders.encoder import Encoder, EncoderConfig
from tacit.encoders.posterior import LatentPosterior
from tacit.episodes.batch import ChoiceBatch

__all__ = ["NullEncoder"]


class _NullConfig(EncoderConfig):
    @property
    def personal(self) -> bool:
        return False


@encoders.register("none")
class NullEncoder(Encoder):
    """A latent of size 0: every user is the population."""

    config_class = _NullConfig
    additive: ClassVar[bool] = True
    evidence_dim = 0
    has_uncertainty = False

    def __init__(self, dim: int = 0, latent: int = 0, config: Any = None, **given: Any) -> None:
        super().__init__(dim, 0)

    def compare(self, choices: ChoiceBatch) -> Tensor:
        """Float[users choices 0]."""
        return choices.vectors.new_zeros(choices.n_users, choices.n_choices, 0)

    def posterior(self, rows: Tensor, weight: Tensor) -> LatentPosterior:
        """A point in a space of no dimensions."""
        return LatentPosterior(rows.new_zeros(rows.shape[0], 0))
