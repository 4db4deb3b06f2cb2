"""Encoders: from choices to a posterior over the user's latent z, and the states users are kept as."""

from typing import TYPE_CHECKING

from tacit.lazy import lazy

if TYPE_CHECKING:
    from tacit.encoders.additive import AdditiveEncoder
    from tacit.encoders.attention import AttentionEncoder
    from tacit.encoders.encoder import Encoder
    from tacit.encoders.laplace import LaplaceEncoder
    from tacit.encoders.mixture import MixturePosterior
    from tacit.encoders.posterior import LatentPosterior
    from tacit.encoders.state import UserStates

__all__ = [
    "AdditiveEncoder",
    "AttentionEncoder",
    "Encoder",
    "LaplaceEncoder",
    "LatentPosterior",
    "MixturePosterior",
    "UserStates",
]
__getattr__, __dir__ = lazy(__name__, __file__)
