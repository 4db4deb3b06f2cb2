"""Item vectors for a table or a model: which embedder, which store, and that both are the right ones."""

from collections.abc import Sequence
from os import PathLike

import torch
from torch import Tensor

from tacit.choices.table import ChoiceTable
from tacit.embedders import (
    DEFAULT_EMBEDDER,
    Embedder,
    ItemStore,
    Progress,
    SuppliedVectors,
    embed_table,
    resolve_embedder,
)
from tacit.embedders.embedder import Item
from tacit.errors import EmbeddingError, StateMismatchError
from tacit.rewards.model import EmbedderReference, RewardModel

__all__ = ["embedder_of", "item_vectors", "reference", "table_embedder", "text_vectors"]


def table_embedder(table: ChoiceTable, name: str | None = None) -> Embedder:
    """The embedder to train with: the named one; else the data's own vectors; else the default."""
    if name in (None, "vectors") and table.item_vectors is not None:
        return SuppliedVectors(table.item_vectors.shape[1])
    if name == "vectors":
        raise EmbeddingError(
            f"{table.source} carries no vectors; add chosen_vector and rejected_vector, or choose another --embedder"
        )
    return resolve_embedder(name or DEFAULT_EMBEDDER)


def reference(embedder: Embedder) -> EmbedderReference:
    """What a model remembers of its embedder."""
    return EmbedderReference(embedder.spec, embedder.fingerprint)


def embedder_of(model: RewardModel) -> Embedder:
    """The embedder a model was trained with, checked to be the very same.

    Raises:
        EmbeddingError: the model was trained on vectors without an embedder, or the embedder cannot be found.
        StateMismatchError: what stands under that name now makes other vectors.
    """
    if model.embedder is None:
        raise EmbeddingError("this model was trained on bare vectors, so it cannot read texts; use the Python API")
    embedder = resolve_embedder(**model.embedder.spec)
    if embedder.fingerprint != model.embedder.fingerprint:
        raise StateMismatchError(
            f"embedder {embedder.name!r} is not the one this model was trained with (fingerprint {embedder.fingerprint}, "
            f"expected {model.embedder.fingerprint}); restore the old one or train again"
        )
    return embedder


def item_vectors(
    table: ChoiceTable,
    embedder: Embedder,
    store: str | PathLike[str] | None = None,
    *,
    progress: Progress | None = None,
) -> Tensor:
    """Float32[items dim] by the table's item numbers; each unique item is embedded once, into `store` if given."""
    if isinstance(embedder, SuppliedVectors) and store is None and table.item_vectors is not None:
        if table.item_vectors.shape[1] != embedder.dim:
            raise EmbeddingError(
                f"{table.source} carries vectors of size {table.item_vectors.shape[1]}; "
                f"the model needs size {embedder.dim}"
            )
        return torch.from_numpy(table.item_vectors)
    items = ItemStore.open(store, embedder)
    return items[embed_table(table, embedder, items, progress=progress)]


def text_vectors(items: Sequence[Item], embedder: Embedder) -> Tensor:
    """Float32[items dim] of (prompt, response) texts."""
    if isinstance(embedder, SuppliedVectors):
        raise EmbeddingError(
            "this model was trained on vectors in the data, so it cannot embed new texts; use the Python API"
        )
    return torch.from_numpy(embedder.embed(items)).float()
