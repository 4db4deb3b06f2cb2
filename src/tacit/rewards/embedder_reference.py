"""Which embedder made a model's item vectors."""

from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import ConfigDict

from tacit.embedders import Embedder, resolve_embedder
from tacit.errors import ModelFormatError, StateMismatchError

__all__ = ["EmbedderReference"]


@dataclass(frozen=True)
class EmbedderReference:
    """Which embedder made the item vectors: what to resolve it by, and the fingerprint it must have."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    spec: dict[str, Any]
    fingerprint: str

    @classmethod
    def of(cls, embedder: Embedder) -> "EmbedderReference":
        """What a model remembers of its embedder."""
        return cls(embedder.spec, embedder.fingerprint)

    def resolve(self, dim: int) -> Embedder:
        """The embedder, checked to be the very same, with vectors of size `dim`.

        Raises:
            EmbeddingError: it cannot be found.
            StateMismatchError: what stands under that name now makes other vectors.
            ModelFormatError: the spec was altered.
        """
        try:
            embedder = resolve_embedder(**self.spec)
        except (TypeError, AttributeError) as error:  # a config.json altered by hand
            raise ModelFormatError(
                f"the model names its embedder by {self.spec}, which means nothing here ({error}); "
                "copy or train the model again"
            ) from None
        found, expected = (embedder.fingerprint, embedder.dim), (self.fingerprint, dim)
        if found != expected:
            raise StateMismatchError(
                f"embedder {embedder.name!r} is not the one this model was trained with: found {found[0]}, {found[1]} "
                f"dimensions, expected {expected[0]}, {expected[1]}; restore the old one or train again"
            )
        return embedder
