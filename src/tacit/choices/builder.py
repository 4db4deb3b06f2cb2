"""From checked rows of text to integer columns, chunk by chunk: every distinct text is kept once.

Reading a file needs memory for one chunk, the distinct texts and the integer columns, however often texts repeat.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tacit.errors import ChoiceError

__all__ = ["MAX_SLOTS", "CleanRows", "Columns", "TableBuilder", "Vocabulary"]

MAX_SLOTS = 127
"""Ranks are int8, so one choice ranks at most this many responses."""

_SAME_VECTOR = 1e-3
"""Two vectors of one item may differ by this share of their largest entry: rounding, not another embedding."""


@dataclass(frozen=True)
class CleanRows:
    """A chunk of checked choices; an entry is one response of one choice, in any order.

    Shapes:
        user, prompt: text [choices].
        split: text [choices], null = in no split; None where the data has no splits.
        weight, timestamp, line: [choices] as in `ChoiceTable`.
        response: text [entries].
        owner, slot, rank: Int[entries], the choice (in this chunk) the response belongs to, its place and rank.
        vectors: Float32[entries dim], or None.
    """

    user: pa.Array
    prompt: pa.Array
    split: pa.Array | None
    weight: NDArray[np.float32]
    timestamp: NDArray[np.float64]
    line: NDArray[np.int64]
    response: pa.Array
    owner: NDArray[np.int64]
    slot: NDArray[np.int64]
    rank: NDArray[np.int8]
    vectors: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.line)

    def keep(self, kept: NDArray[np.bool_]) -> "CleanRows":
        """The choices where `kept` (Bool[choices]) holds."""
        entries = kept[self.owner]
        number = np.cumsum(kept) - 1
        return CleanRows(
            user=self.user.filter(kept),
            prompt=self.prompt.filter(kept),
            split=None if self.split is None else self.split.filter(kept),
            weight=self.weight[kept],
            timestamp=self.timestamp[kept],
            line=self.line[kept],
            response=self.response.filter(entries),
            owner=number[self.owner[entries]],
            slot=self.slot[entries],
            rank=self.rank[entries],
            vectors=None if self.vectors is None else self.vectors[entries],
        )


class Vocabulary:
    """Distinct values of one Arrow type, numbered by first appearance."""

    def __init__(self, dtype: pa.DataType) -> None:
        self._dtype = dtype
        self._number: dict[Any, int] = {}

    def __len__(self) -> int:
        return len(self._number)

    def encode(self, values: pa.Array) -> NDArray[np.int64]:
        """The number of each value (Int64[values]); new values get the next numbers. Nulls are not allowed."""
        # Arrow finds the distinct values of the chunk, so Python touches each of those only.
        local = values.dictionary_encode()
        number = self._number
        known = np.array([number.setdefault(v, len(number)) for v in local.dictionary.to_pylist()], dtype=np.int64)
        return known[local.indices.to_numpy()]

    def values(self) -> pa.Array:
        """All distinct values by number."""
        return pa.array(list(self._number), self._dtype)


@dataclass(frozen=True)
class Columns:
    """What `TableBuilder.finish` returns: the columns of a `ChoiceTable`."""

    users: pa.Array
    prompts: pa.Array
    responses: pa.Array
    item_prompt: NDArray[np.int32]
    user: NDArray[np.int32]
    items: NDArray[np.int32]
    rank: NDArray[np.int8]
    weight: NDArray[np.float32]
    timestamp: NDArray[np.float64]
    line: NDArray[np.int64]
    split: NDArray[np.int32] | None
    split_names: tuple[str, ...]
    item_vectors: NDArray[np.float32] | None


class TableBuilder:
    """Takes `CleanRows` chunk by chunk and numbers users, prompts and items by first appearance."""

    def __init__(self) -> None:
        self._users = Vocabulary(pa.large_string())
        self._prompts = Vocabulary(pa.large_string())
        self._texts = Vocabulary(pa.large_string())
        self._splits = Vocabulary(pa.large_string())
        self._items = Vocabulary(pa.int64())
        self._chunks: list[dict[str, NDArray[Any]]] = []
        self._vectors: NDArray[np.float32] | None = None
        self._n_vectors = 0
        self._has_split = False

    def add(self, rows: CleanRows) -> list[tuple[int, str]]:
        """Take one chunk; choices whose vectors contradict earlier ones are left out and returned as (line, cause)."""
        refused: list[tuple[int, str]] = []
        prompt = self._prompts.encode(rows.prompt)
        ids = self._items.encode(pa.array((prompt[rows.owner] << 32) | self._texts.encode(rows.response)))
        if rows.vectors is not None:
            differs = self._take_vectors(ids, rows)
            if differs.any():
                bad = np.zeros(len(rows), dtype=bool)
                bad[rows.owner[differs]] = True
                cause = "its vector differs from the one an earlier row gives for the same prompt and response"
                refused = [(int(line), cause) for line in rows.line[bad]]
                ids, rows = ids[~bad[rows.owner]], rows.keep(~bad)
        width = int(rows.slot.max(initial=1)) + 1
        items, rank = np.zeros((len(rows), width), np.int32), np.full((len(rows), width), -1, np.int8)
        items[rows.owner, rows.slot] = ids
        rank[rows.owner, rows.slot] = rows.rank
        split = np.full(len(rows), -1, np.int32)
        if rows.split is not None:
            self._has_split = True
            named = np.asarray(rows.split.is_valid())
            split[named] = self._splits.encode(rows.split.drop_null())
        self._chunks.append(
            {
                "user": self._users.encode(rows.user).astype(np.int32),
                "items": items,
                "rank": rank,
                "weight": rows.weight,
                "timestamp": rows.timestamp,
                "line": rows.line,
                "split": split,
            }
        )
        return refused

    def _take_vectors(self, ids: NDArray[np.int64], rows: CleanRows) -> NDArray[np.bool_]:
        """Keep the vector of each new item's earliest row; Bool[entries]: those that differ from their item's."""
        assert rows.vectors is not None
        vectors, by_row = rows.vectors, np.argsort(rows.owner, kind="stable")
        new, first = np.unique(ids[by_row], return_index=True)
        first = by_row[first]
        if self._vectors is None:
            self._vectors = np.empty((len(self._items), vectors.shape[1]), np.float32)
        elif len(self._items) > len(self._vectors):  # doubling: each vector is copied a bounded number of times
            wider = np.empty((max(len(self._items), 2 * len(self._vectors)), vectors.shape[1]), np.float32)
            wider[: self._n_vectors] = self._vectors[: self._n_vectors]
            self._vectors = wider
        fresh = new >= self._n_vectors
        self._vectors[new[fresh]] = vectors[first[fresh]]
        self._n_vectors = len(self._items)
        kept = self._vectors[ids]
        return np.abs(kept - vectors).max(axis=1) > _SAME_VECTOR * np.abs(kept).max(axis=1)

    def finish(self) -> Columns:
        """Join the chunks; the builder is spent afterwards.

        Raises:
            ChoiceError: more than 2**31 items.
        """
        key = np.asarray(self._items.values())
        if len(key) >= 2**31:
            raise ChoiceError(f"{len(key)} distinct items; expected fewer than 2**31; split the data")
        prompts, users = self._prompts.values(), self._users.values()
        responses = self._texts.values().take(pa.array(key & 0xFFFFFFFF))
        width = max((chunk["items"].shape[1] for chunk in self._chunks), default=2)
        return Columns(
            users=users,
            prompts=prompts,
            responses=responses,
            item_prompt=(key >> 32).astype(np.int32),
            user=self._join("user", np.int32),
            items=_pad(self._chunks, "items", width, 0, np.int32),
            rank=_pad(self._chunks, "rank", width, -1, np.int8),
            weight=self._join("weight", np.float32),
            timestamp=self._join("timestamp", np.float64),
            line=self._join("line", np.int64),
            split=self._join("split", np.int32) if self._has_split else None,
            split_names=tuple(self._splits.values().to_pylist()),
            item_vectors=None if self._vectors is None else self._vectors[: self._n_vectors],
        )

    def _join(self, name: str, dtype: Any) -> NDArray[Any]:
        return np.concatenate([np.empty(0, dtype), *(chunk.pop(name) for chunk in self._chunks)], dtype=dtype)


def _pad(chunks: list[dict[str, NDArray[Any]]], name: str, width: int, fill: int, dtype: Any) -> NDArray[Any]:
    """Join [choices slots] arrays of differing numbers of slots."""
    joined = np.full((sum(len(chunk[name]) for chunk in chunks), width), fill, dtype)
    start = 0
    for chunk in chunks:
        part = chunk.pop(name)
        joined[start : start + len(part), : part.shape[1]] = part
        start += len(part)
    return joined
