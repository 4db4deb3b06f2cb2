"""ItemStore: every unique item embedded once, addressed by integer id.

Ids are row numbers in order of arrival and never change. Rows are float16 on disk and float32 in use.
"""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tacit.choices.choice import item_key
from tacit.embedders.collisions import CollisionCheck, difference
from tacit.embedders.embedder import Embedder, Item, SuppliedVectors
from tacit.embedders.rows import KEY_BYTES, DiskRows, Header, MemoryRows, Rows
from tacit.errors import EmbeddingError
from tacit.events import Progress

__all__ = ["ItemStore"]

logger = logging.getLogger(__name__)


class ItemStore:
    """Vectors of unique items, in a folder or in memory.

    Shapes: `store[ids]` is Float32[... dim] for ids Int64[...].

    Example:
        store = ItemStore.open("items", resolve_embedder("minilm"))
        ids = store.add([("Say hello.", "Hi!"), ("Say hello.", "Good day.")], embedder)
        vectors = store[ids]
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._reindex()

    @classmethod
    def open(cls, folder: str | os.PathLike[str] | None, embedder: Embedder | None = None) -> "ItemStore":
        """The store in `folder`, made if it is missing and an embedder is given; `None` keeps it in memory.

        Raises:
            EmbeddingError: the store is missing, damaged, or was made by another embedder.
        """
        if folder is None:
            if embedder is None:
                raise EmbeddingError("a store in memory needs an embedder")
            # Supplied vectors stay exact; computed ones are rounded as a folder would, so that both give one result.
            dtype = np.dtype(np.float32 if isinstance(embedder, SuppliedVectors) else np.float16)
            return cls(MemoryRows(_header(embedder), dtype))
        folder = Path(folder)
        if embedder is None or DiskRows.exists(folder):
            store = cls(DiskRows(folder))
        else:
            store = cls(DiskRows.create(folder, _header(embedder)))
        if embedder is not None:
            store._check(embedder)
        return store

    @classmethod
    def from_vectors(
        cls,
        folder: str | os.PathLike[str] | None,
        items: Sequence[Item] | Sequence[bytes],
        vectors: np.ndarray | Tensor,
    ) -> "ItemStore":
        """A store of vectors that the user brings, Float[items dim], for items or their 16-byte keys.

        In memory they are kept as float32, without a copy where they already are.
        """
        if vectors.ndim != 2:
            raise EmbeddingError(f"supplied vectors must be [items, dim], found shape {tuple(vectors.shape)}")
        store = cls.open(folder, SuppliedVectors(vectors.shape[1]))
        store.add_vectors(items, vectors)
        return store

    def __len__(self) -> int:
        return len(self._index)

    @property
    def dim(self) -> int:
        """Length of every vector."""
        return self._rows.header.dim

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the embedder that made the vectors."""
        return self._rows.header.fingerprint

    @property
    def spec(self) -> dict[str, Any]:
        """The spec of the embedder that made the vectors."""
        return self._rows.header.embedder

    def __getitem__(self, ids: Tensor | np.ndarray) -> Tensor:
        """Float32[... dim] for ids Int64[...]; ids outside the store, -1 included, are refused."""
        wanted = np.asarray(ids)
        if wanted.size and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise EmbeddingError(
                f"ids from {wanted.min()} to {wanted.max()} asked of a store of {len(self)} items; add them first"
            )
        vectors = torch.from_numpy(np.take(self._rows.vectors, wanted, axis=0).astype(np.float32, copy=False))
        if not vectors.sum().isfinite() and not vectors.isfinite().all():  # the sum is one cheap pass
            raise EmbeddingError("the item store's vectors are damaged (NaN or infinite); embed again")
        return vectors

    def ids(self, items: Sequence[Item] | Sequence[bytes]) -> Tensor:
        """Int64[items]: the id of each item (or key), -1 where it is not in the store."""
        return torch.tensor([self._index.get(key, -1) for key in _keys(items)], dtype=torch.int64)

    def add(
        self,
        items: Sequence[Item],
        embedder: Embedder,
        *,
        progress: Progress | None = None,
        chunk_items: int = 1024,
    ) -> Tensor:
        """Embed what is missing and return Int64[items], the id of every item.

        Each chunk is committed when it is done, so an interrupted call loses at most one and the next one goes on.
        If the items collide (see `collisions`), nothing of this call stays.

        Raises:
            EmbeddingError: another embedder than the store's, NaN or float16 overflow, colliding responses,
                another writer, a failed write.
        """
        self._check(embedder)
        distinct = dict(zip(_keys(items), items, strict=True))
        check = CollisionCheck(list(distinct.values()))
        if all(key in self._index for key in distinct):  # nothing to write: a read-only or busy store will do
            self._see_stored(check, distinct, chunk_items)
            return self.ids(items)
        with self._rows.writing():
            self._reindex()
            self._see_stored(check, distinct, chunk_items)
            missing = [key for key in distinct if key not in self._index]
            before = len(self)
            for start in range(0, len(missing), chunk_items):
                chunk = missing[start : start + chunk_items]
                texts = [distinct[key] for key in chunk]
                rows = self._to_rows(embedder.embed(texts), texts)
                try:
                    check.see(texts, rows)
                except EmbeddingError:
                    self._rows.drop(before)
                    self._reindex()
                    raise
                self._append(chunk, rows)
                if progress is not None:
                    progress(start + len(chunk), len(missing))
        if check.spaced:
            logger.warning(
                "%d responses differ from another in white space only, which %s does not see (such as %s)",
                len(check.spaced), embedder.name, difference(*check.spaced[0]),
            )  # fmt: skip
        return self.ids(items)

    def add_vectors(self, items: Sequence[Item] | Sequence[bytes], vectors: np.ndarray | Tensor) -> Tensor:
        """Take in vectors that the user brings, Float[items dim], and return Int64[items].

        Raises:
            EmbeddingError: wrong shape, NaN or overflow, one item with two different vectors, an embedder's store.
        """
        if tuple(vectors.shape) != (len(items), self.dim):
            raise EmbeddingError(
                f"supplied vectors have shape {tuple(vectors.shape)}; expected [{len(items)} items, {self.dim}]"
            )
        self._check(SuppliedVectors(self.dim))
        rows = self._to_rows(vectors.detach().cpu().numpy() if isinstance(vectors, Tensor) else vectors, items)
        keys = _keys(items)
        with self._rows.writing():
            self._reindex()
            first: dict[bytes, int] = {}
            for number, key in enumerate(keys):
                if key not in self._index:
                    first.setdefault(key, number)
            new = list(first.values())
            if new:
                self._append([keys[i] for i in new], rows if len(new) == len(rows) else rows[new])
        ids = self.ids(keys)
        if len(new) < len(rows):
            again = np.setdiff1d(np.arange(len(rows)), new)
            differs = (np.take(self._rows.vectors, ids[again], axis=0) != rows[again]).any(axis=1)
            if differs.any():
                raise EmbeddingError(
                    f"item {again[differs][0]} (counted from 0) already has another vector in the store; "
                    "an item can have only one"
                )
        return ids

    def _see_stored(self, check: CollisionCheck, distinct: dict[bytes, Item], chunk_items: int) -> None:
        present = [key for key in distinct if key in self._index]
        for start in range(0, len(present), chunk_items):
            chunk = present[start : start + chunk_items]
            rows = np.take(self._rows.vectors, [self._index[key] for key in chunk], axis=0)
            check.see([distinct[key] for key in chunk], rows)

    def _check(self, embedder: Embedder) -> None:
        header = self._rows.header
        if (embedder.fingerprint, embedder.dim) != (header.fingerprint, header.dim):
            raise EmbeddingError(
                f"the item store was made by embedder '{header.embedder.get('name')}' ({header.fingerprint}, "
                f"{header.dim} dimensions), not by '{embedder.name}' ({embedder.fingerprint}, {embedder.dim}); "
                "give that embedder or another store folder"
            )

    def _to_rows(self, vectors: np.ndarray, items: Sequence[Item] | Sequence[bytes]) -> np.ndarray:
        """Vectors in the rows' dtype; NaN, infinity and float16 overflow are refused."""
        with np.errstate(over="ignore"):
            rows = vectors.astype(self._rows.dtype, copy=False)
        if not np.isfinite(rows).all():
            at = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
            found = "overflows float16" if np.isfinite(vectors[at]).all() else "is NaN or infinite"
            raise EmbeddingError(
                f"the vector of item {at} ({str(items[at])[:60]}) {found}; expected finite values up to 65504"
            )
        return rows

    def _append(self, keys: list[bytes], rows: np.ndarray) -> None:
        self._index.update(zip(keys, range(len(self), len(self) + len(keys)), strict=True))
        self._rows.append(keys, rows)

    def _reindex(self) -> None:
        """Index every committed row, this writer's or another's."""
        self._index = {key: row for row, key in enumerate(self._rows.keys())}
        if len(self._index) != self._rows.header.count:
            raise EmbeddingError("the item store's keys are damaged (one item twice); embed again")


def _header(embedder: Embedder) -> Header:
    return Header(embedder=embedder.spec, fingerprint=embedder.fingerprint, dim=embedder.dim)


def _keys(items: Sequence[Item] | Sequence[bytes]) -> list[bytes]:
    keys = [item if isinstance(item, bytes) else item_key(*item) for item in items]
    if any(len(key) != KEY_BYTES for key in keys):
        raise EmbeddingError(f"an item's key must be {KEY_BYTES} bytes, as item_key makes it")
    return keys
