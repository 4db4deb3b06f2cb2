"""Encoders: from choices to a posterior over the user's latent z, and the states users are kept as.

An encoder is one file here, or anywhere if it registers itself: a subclass of `Encoder`, `@encoders.register(name)`.
"""

from typing import TYPE_CHECKING, Any

from tacit.lazy import lazy
from tacit.registry import Registry

if TYPE_CHECKING:
    from tacit.encoders.additive import AdditiveEncoder
    from tacit.encoders.attention import AttentionEncoder
    from tacit.encoders.encoder import Encoder, EncoderConfig
    from tacit.encoders.laplace import LaplaceEncoder
    from tacit.encoders.posterior import LatentPosterior, MixturePosterior
    from tacit.encoders.state import UserStates

__all__ = [
    "AdditiveEncoder",
    "AttentionEncoder",
    "Encoder",
    "EncoderConfig",
    "LaplaceEncoder",
    "LatentPosterior",
    "MixturePosterior",
    "UserStates",
    "encoders",
]
__getattr__, __dir__ = lazy(__name__, __file__)

encoders: Registry[Any] = Registry("encoder", "tacit.encoders")
"""Subclasses of `Encoder` by name."""
