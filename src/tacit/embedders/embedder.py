"""The contract of an embedder: items in, one float32 vector per item out, and a fingerprint that says by what.

Whoever stores vectors or trains on them keeps `fingerprint` (to refuse vectors of another embedder) and `spec`
(to build the same embedder again: `resolve_embedder(**spec)`).
"""

from collections.abc import Sequence
from typing import Any, NoReturn, Protocol, runtime_checkable

import numpy as np

from tacit.errors import EmbeddingError

__all__ = ["Embedder", "Item", "SuppliedVectors"]

Item = tuple[str, str]
"""(prompt key, response): `tacit.choices.conversation` says what a key is; a lone question is its own key."""


@runtime_checkable
class Embedder(Protocol):
    """Something that turns items into vectors, each independently of the others in the call."""

    @property
    def name(self) -> str:
        """What the user asked for: `minilm`, `hash`, a path or a hub name."""
        ...

    @property
    def dim(self) -> int:
        """Length of every vector."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hash of what determines the vectors: weights, tokenizer, pooling, window, version of the rules.

        Device, precision and batching are left out: they move a vector by rounding only.
        """
        ...

    @property
    def spec(self) -> dict[str, Any]:
        """Plain JSON values such that `resolve_embedder(**spec)` is this embedder again."""
        ...

    def embed(self, items: Sequence[Item]) -> np.ndarray:
        """Float32[items dim], in the order of `items`."""
        ...


class SuppliedVectors:
    """Stands for vectors that come with the data; two sets of the same width count as the same kind."""

    name = "vectors"

    def __init__(self, dim: int) -> None:
        if dim < 1:
            raise EmbeddingError(f"supplied vectors need at least one dimension, found {dim}")
        self.dim = dim
        self.fingerprint = f"vectors-{dim}"
        self.spec: dict[str, Any] = {"name": self.name, "dim": dim}

    def embed(self, items: Sequence[Item]) -> NoReturn:
        """Always an `EmbeddingError`: no text can be embedded here."""
        raise EmbeddingError(
            f"{len(items)} items have no vector: with the embedder 'vectors' every item must bring its own; "
            "choose another embedder to embed texts"
        )
