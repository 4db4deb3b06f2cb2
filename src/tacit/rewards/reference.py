"""Which embedder made a model's item vectors."""

from dataclasses import dataclass
from typing import Any

__all__ = ["EmbedderReference"]


@dataclass(frozen=True)
class EmbedderReference:
    """Which embedder made the item vectors: what to resolve it by, and the fingerprint it must have."""

    spec: dict[str, Any]
    fingerprint: str
