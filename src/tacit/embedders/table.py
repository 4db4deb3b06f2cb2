"""Item vectors of a whole table: which embedder reads it, which store keeps what it read."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tacit.choices.table import ChoiceTable
from tacit.embedders.embedder import Embedder, Item, SuppliedVectors
from tacit.embedders.registry import DEFAULT_EMBEDDER, resolve_embedder
from tacit.embedders.rows import DiskRows
from tacit.embedders.store import ItemStore
from tacit.errors import EmbeddingError
from tacit.events import Progress

__all__ = ["embed_table", "item_vectors", "open_store", "table_embedder", "text_vectors"]

_CHUNK = 1024


def table_embedder(table: ChoiceTable, name: str | None = None) -> Embedder:
    """The embedder to train with: the named one; else the data's own vectors; else the default."""
    if name in (None, "vectors") and table.item_vectors is not None:
        return SuppliedVectors(table.item_vectors.shape[1])
    if name == "vectors":
        raise EmbeddingError(
            f"{table.source} carries no vectors; add chosen_vector and rejected_vector, or choose another embedder"
        )
    return resolve_embedder(name or DEFAULT_EMBEDDER)


def item_vectors(
    table: ChoiceTable,
    embedder: Embedder,
    store: str | PathLike[str] | None = None,
    *,
    progress: Progress | None = None,
) -> Tensor:
    """Float32[items dim] by the table's item numbers; each unique item is embedded once, into `store` if given.

    Only items that occur in the table's choices are embedded (a selection of a table keeps its items' numbers); the
    rows of others are zero.

    Raises:
        EmbeddingError: vectors in the data that are missing or of another size than `embedder` says, and whatever
            `ItemStore` refuses.
    """
    if isinstance(embedder, SuppliedVectors):
        width = None if table.item_vectors is None else table.item_vectors.shape[1]
        if table.item_vectors is None or width != embedder.dim:
            raise EmbeddingError(
                f"{table.source} carries {'no vectors' if width is None else f'vectors of size {width}'}; expected "
                f"chosen_vector and rejected_vector of size {embedder.dim}, as the model was trained on"
            )
        if store is None:
            return torch.from_numpy(table.item_vectors)
    used = np.unique(table.items[table.rank >= 0])
    with open_store(store, embedder) as items:
        if isinstance(embedder, SuppliedVectors) or len(used) == table.n_items:
            return items[embed_table(table, embedder, items, progress=progress)]
        vectors = torch.zeros(table.n_items, embedder.dim)
        ids = items.add([table.item(int(item)) for item in used], embedder, progress=progress)
        vectors[torch.from_numpy(used.astype(np.int64))] = items[ids]
        return vectors


def text_vectors(items: Sequence[Item], embedder: Embedder, *, progress: Progress | None = None) -> Tensor:
    """Float32[items dim] of (prompt key, response) items, rounded as an `ItemStore` rounds them."""
    if isinstance(embedder, SuppliedVectors):
        raise EmbeddingError(
            "this model was trained on vectors in the data, so it cannot embed new texts; give vectors"
        )
    vectors = []
    for start in range(0, len(items), _CHUNK):
        vectors.append(torch.from_numpy(embedder.embed(items[start : start + _CHUNK])).half().float())
        if progress is not None:
            progress(min(start + _CHUNK, len(items)), len(items))
    return torch.cat(vectors) if vectors else torch.zeros(0, embedder.dim)


@contextmanager
def open_store(folder: str | PathLike[str] | None, embedder: Embedder) -> Iterator[ItemStore]:
    """`ItemStore.open`; if the block fails, a store that is new and still empty is removed again."""
    path = None if folder is None or Path(folder).exists() else Path(folder)
    items = None
    try:
        items = ItemStore.open(folder, embedder)
        yield items
    except EmbeddingError:
        if path is not None and (len(items) == 0 if items is not None else not DiskRows.exists(path)):
            shutil.rmtree(path, ignore_errors=True)
        raise


def embed_table(
    table: ChoiceTable, embedder: Embedder, store: ItemStore, *, progress: Progress | None = None
) -> Tensor:
    """Put every item of `table` into `store` and return Int64[items]: its id there, by the table's item number.

    With `SuppliedVectors` the table's own vectors are taken; any other embedder reads the texts.

    Raises:
        EmbeddingError: what `ItemStore.add` and `add_vectors` raise, or vectors asked of a table without any.
    """
    if not isinstance(embedder, SuppliedVectors):
        return store.add(table.item_texts(), embedder, progress=progress)
    if table.item_vectors is None:
        raise EmbeddingError(f"{table.source} carries no vectors; choose another embedder than 'vectors'")
    return store.add_vectors(table.item_texts(), table.item_vectors)
