"""Embedders turn items into vectors; the ItemStore keeps every unique item's vector once."""

from typing import TYPE_CHECKING

from tacit.lazy import lazy

if TYPE_CHECKING:
    from tacit.embedders.collisions import MAX_COLLIDING_SHARE, CollisionCheck
    from tacit.embedders.embedder import Embedder, Item, SuppliedVectors
    from tacit.embedders.hashing import HashEmbedder
    from tacit.embedders.pooling import Pooling
    from tacit.embedders.registry import DEFAULT_EMBEDDER, resolve_embedder
    from tacit.embedders.store import ItemStore
    from tacit.embedders.table import embed_table, item_vectors, open_store, table_embedder, text_vectors

__all__ = [
    "DEFAULT_EMBEDDER",
    "MAX_COLLIDING_SHARE",
    "CollisionCheck",
    "Embedder",
    "HashEmbedder",
    "Item",
    "ItemStore",
    "Pooling",
    "SuppliedVectors",
    "embed_table",
    "item_vectors",
    "open_store",
    "resolve_embedder",
    "table_embedder",
    "text_vectors",
]
__getattr__, __dir__ = lazy(__name__, __file__)
