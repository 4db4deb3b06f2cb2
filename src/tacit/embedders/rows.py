"""Where an item store keeps its rows: a folder that survives kill -9, or memory.

A folder holds `store.json` (the header, with the committed count), `vectors.f16` (little-endian float16 rows) and
`keys.bin` (16-byte content hashes). Rows are appended and synced first, the header is renamed last, so whatever lies
beyond the committed count is the rest of an interrupted append: readers ignore it, the next writer cuts it off.
"""

import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tacit.errors import EmbeddingError
from tacit.files import locked, write_json

__all__ = ["KEY_BYTES", "DiskRows", "Header", "MemoryRows", "Rows"]

KEY_BYTES = 16
_HEADER, _VECTORS, _KEYS, _LOCK = "store.json", "vectors.f16", "keys.bin", ".lock"


class Header(BaseModel):
    """What `store.json` says: which embedder made the rows, and how many of them are committed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    embedder: dict[str, Any]
    fingerprint: str
    dim: int = Field(gt=0)
    count: int = Field(default=0, ge=0)


class Rows(Protocol):
    """Keys and vectors by row number; rows are only ever appended, or dropped from the end."""

    header: Header
    dtype: np.dtype

    @property
    def vectors(self) -> np.ndarray:
        """Float16 or float32 [rows dim]."""
        ...

    def keys(self) -> list[bytes]:
        """The key of every row."""
        ...

    def writing(self) -> AbstractContextManager[None]:
        """A context in which this object is the only writer and sees everything committed before."""
        ...

    def append(self, keys: list[bytes], vectors: np.ndarray) -> None:
        """Commit more rows, `vectors` of this object's dtype [rows dim]."""
        ...

    def drop(self, count: int) -> None:
        """Keep the first `count` rows only."""
        ...


class MemoryRows:
    """Rows that live as long as the process."""

    def __init__(self, header: Header, dtype: np.dtype) -> None:
        self.header = header
        self.dtype = dtype
        self._keys: list[bytes] = []
        self._blocks: list[np.ndarray] = []

    @property
    def vectors(self) -> np.ndarray:
        """See `Rows.vectors`."""
        if len(self._blocks) != 1:
            self._blocks = [np.concatenate([np.empty((0, self.header.dim), self.dtype), *self._blocks])]
        return self._blocks[0]

    def keys(self) -> list[bytes]:
        """See `Rows.keys`."""
        return self._keys

    @contextmanager
    def writing(self) -> Iterator[None]:
        """See `Rows.writing`."""
        yield

    def append(self, keys: list[bytes], vectors: np.ndarray) -> None:
        """See `Rows.append`."""
        self._keys += keys
        self._blocks.append(vectors)
        self.header = self.header.model_copy(update={"count": len(self._keys)})

    def drop(self, count: int) -> None:
        """See `Rows.drop`."""
        self._blocks = [self.vectors[:count]]
        del self._keys[count:]
        self.header = self.header.model_copy(update={"count": count})


class DiskRows:
    """Rows in a folder, memory-mapped; one writer at a time by a lock that dies with its process.

    Raises:
        EmbeddingError: no store, a damaged or truncated one, another writer, a failed write.
    """

    dtype = np.dtype("<f2")

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._load()

    @classmethod
    def create(cls, folder: Path, header: Header) -> "DiskRows":
        """An empty store in a folder that is new, empty, or holds nothing but hidden files."""
        if folder.exists() and (not folder.is_dir() or any(p.name[0] != "." for p in folder.iterdir())):
            raise EmbeddingError(f"'{folder}' exists and is no item store; give a new or empty folder")
        with _locked(folder):
            if not cls.exists(folder):  # nobody else made it meanwhile
                _write(folder, header)
        return cls(folder)

    @staticmethod
    def exists(folder: Path) -> bool:
        """Whether `folder` holds a store."""
        return (folder / _HEADER).is_file()

    @property
    def vectors(self) -> np.ndarray:
        """See `Rows.vectors`."""
        return self._vectors

    def keys(self) -> list[bytes]:
        """See `Rows.keys`."""
        if not self.header.count:
            return []
        with (self.folder / _KEYS).open("rb") as file:
            raw = file.read(self.header.count * KEY_BYTES)
        return [raw[at : at + KEY_BYTES] for at in range(0, len(raw), KEY_BYTES)]

    @contextmanager
    def writing(self) -> Iterator[None]:
        """See `Rows.writing`."""
        with _locked(self.folder):
            self._load()
            yield

    def append(self, keys: list[bytes], vectors: np.ndarray) -> None:
        """See `Rows.append`."""
        count, dim = self.header.count, self.header.dim
        try:
            _extend(self.folder / _VECTORS, count * dim * self.dtype.itemsize, vectors.tobytes())
            _extend(self.folder / _KEYS, count * KEY_BYTES, b"".join(keys))
        except OSError as error:
            raise EmbeddingError(f"cannot write to the item store '{self.folder}': {error.strerror}") from error
        self.drop(count + len(keys))

    def drop(self, count: int) -> None:
        """See `Rows.drop`."""
        _write(self.folder, self.header.model_copy(update={"count": count}))
        self._load()

    def _load(self) -> None:
        """Read the header and map the committed rows."""
        try:
            self.header = Header.model_validate(json.loads((self.folder / _HEADER).read_bytes()))
        except FileNotFoundError:
            raise EmbeddingError(
                f"no item store in '{self.folder}' (no {_HEADER}); make one with 'tacit embed'"
            ) from None
        except (OSError, ValueError, ValidationError) as error:
            raise EmbeddingError(f"'{self.folder / _HEADER}' is damaged or of another version; embed again") from error
        count, dim = self.header.count, self.header.dim
        for name, width in ((_VECTORS, dim * self.dtype.itemsize), (_KEYS, KEY_BYTES)):
            path = self.folder / name
            found = path.stat().st_size if path.is_file() else 0
            if found < count * width:
                raise EmbeddingError(
                    f"'{path}' is truncated: {found} bytes where {count} items need {count * width}; embed again"
                )
        self._vectors = (
            np.memmap(self.folder / _VECTORS, self.dtype, mode="r", shape=(count, dim))
            if count
            else np.empty((0, dim), self.dtype)
        )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, or fail at once."""
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(folder / _LOCK))
        except BlockingIOError:
            raise EmbeddingError(f"another writer has the item store '{folder}' open; wait for it") from None
        except OSError as error:
            raise EmbeddingError(f"cannot write to the item store '{folder}': {error.strerror}") from error
        yield


def _write(folder: Path, header: Header) -> None:
    try:
        write_json(folder / _HEADER, header.model_dump())
    except OSError as error:
        raise EmbeddingError(f"cannot write the item store '{folder}': {error.strerror}") from error


def _extend(path: Path, committed: int, data: bytes) -> None:
    """Cut off what an interrupted append left, add `data`, and wait until it is on disk."""
    with path.open("ab") as file:
        file.truncate(committed)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
