"""What a row of preferences must hold, with a cause in plain words for each bad row."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tacit.choices.builder import CleanRows
from tacit.choices.cells import TEXT, Cells, compute
from tacit.choices.sources import RawRows
from tacit.errors import ChoiceError

__all__ = ["COLUMNS", "BadRow", "RowChecker", "check_texts", "describe_bad_rows"]

COLUMNS = (
    "user_id", "prompt", "chosen", "rejected", "ranking", "tie", "weight", "timestamp", "split",
    "chosen_vector", "rejected_vector",
)  # fmt: skip
"""Every column that means something; others are ignored."""

BadRow = tuple[int, str]
"""(row number in the source, cause)."""

_SHOWN = 10
_EXPECTED = "user_id, prompt, chosen, rejected (or ranking instead of chosen and rejected)"
_VECTORS = ("chosen_vector", "rejected_vector")


def describe_bad_rows(bad: Sequence[BadRow]) -> str:
    """The first ten bad rows with their causes, on one line."""
    shown = "; ".join(f"row {line}: {cause}" for line, cause in bad[:_SHOWN])
    return shown + (f"; and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else "")


class RowChecker:
    """Checks the chunks of one source in turn.

    Args:
        source: its name, for messages.
        user: the user of every row, where the source has no `user_id` column.
    """

    def __init__(self, source: str, user: str | None = None) -> None:
        self._source = source
        self._user = user
        self._has_vectors: bool | None = None  # settled by the first chunk that has rows
        self._dim = 0  # settled by the first vector

    def check(self, raw: RawRows) -> tuple[CleanRows, list[BadRow]]:
        """The good rows of a chunk, and the bad ones with their causes.

        Raises:
            ChoiceError: a required column is missing, or vectors begin half-way through the source.
        """
        cells = Cells(raw.columns, len(raw.line))
        if len(raw.line):
            self._check_columns(raw, cells)
        if "user_id" not in cells.columns and self._user is not None:
            cells.columns["user_id"] = [self._user] * len(raw.line)
        user = cells.texts("user_id", integers=True)
        cells.refuse_where(user.is_null(), "user_id is missing")
        cells.render_conversations()
        prompt, chosen, rejected = (cells.texts(name) for name in ("prompt", "chosen", "rejected"))
        cells.refuse_where(prompt.is_null(), "prompt is missing")
        ranking = cells.rankings("ranking")
        tie = cells.booleans("tie")
        ranked = np.array([cell is not None for cell in ranking], dtype=bool)
        given = np.asarray(chosen.is_valid()) | np.asarray(rejected.is_valid())
        cells.refuse_where(ranked & given, "both a ranking and chosen or rejected; expected one of the two")
        cells.refuse_where(ranked & tie, "tie with a ranking; ties are for chosen and rejected")
        cells.refuse_where(~ranked & np.asarray(chosen.is_null()), "chosen is missing")
        cells.refuse_where(~ranked & np.asarray(rejected.is_null()), "rejected is missing")
        same = compute.fill_null(compute.equal(chosen, rejected), False)
        cells.refuse_where(same, "chosen and rejected are the same text")
        weight = cells.numbers("weight", 1.0, positive=True)
        timestamp = cells.numbers("timestamp", math.nan)
        split = cells.texts("split", integers=True) if "split" in cells.columns else None
        vectors = self._vectors(cells, ranked) if self._has_vectors else None

        ok = cells.ok
        pair = ok & ~ranked
        number = np.cumsum(ok) - 1
        pairs, lists = number[pair], [cell for row, cell in enumerate(ranking) if cell is not None and ok[row]]
        sizes = [len(texts) for texts in lists]
        places = np.array([place for size in sizes for place in range(size)], dtype=np.int64)
        ranked_texts = pa.array([text for texts in lists for text in texts], TEXT)
        clean = CleanRows(
            user=user.filter(ok),
            prompt=prompt.filter(ok),
            split=None if split is None else split.filter(ok),
            weight=weight[ok].astype(np.float32),
            timestamp=timestamp[ok],
            line=raw.line[ok],
            response=pa.concat_arrays([chosen.filter(pair), rejected.filter(pair), ranked_texts]),
            owner=np.concatenate([pairs, pairs, np.repeat(number[ok & ranked], sizes)]),
            slot=np.concatenate([np.zeros_like(pairs), np.ones_like(pairs), places]),
            rank=np.concatenate([np.zeros_like(pairs), ~tie[pair], places]).astype(np.int8),
            vectors=np.concatenate([side[pair] for side in vectors]) if vectors and self._dim else None,
        )
        return clean, _bad_rows(raw, cells)

    def _check_columns(self, raw: RawRows, cells: Cells) -> None:
        vectors = any(name in raw.columns for name in _VECTORS)
        if self._has_vectors is None:
            self._has_vectors = vectors
            required = [] if self._user is not None else ["user_id"]
            required += [] if cells.has_lists("chosen") else ["prompt"]  # messages may hold their prompt
            required += [] if "ranking" in raw.found else ["chosen", "rejected"]
            _require([*required, *(_VECTORS if vectors else ())], raw, self._source, f"; expected {_EXPECTED}")
        elif vectors and not self._has_vectors:
            raise ChoiceError(
                f"{self._source} has no vectors in its first rows but some from row {raw.line[0]} on; "
                "give them in all rows or in none"
            )

    def _vectors(self, cells: Cells, ranked: NDArray[np.bool_]) -> list[NDArray[np.float32]]:
        """Float32[rows dim] of chosen and of rejected; rows without a good vector get a cause and hold zeros."""
        cells.refuse_where(ranked, "a ranking in data that carries vectors; they are for chosen and rejected")
        columns = [cells.vectors(name) for name in _VECTORS]
        lengths = [np.asarray(compute.fill_null(compute.list_value_length(lists), 0)) for lists in columns]
        known = lengths[0][lengths[0] > 0]
        self._dim = self._dim or (int(known[0]) if len(known) else 0)
        sides = []
        for name, lists, length in zip(_VECTORS, columns, lengths, strict=True):
            cells.refuse_where(length == 0, f"{name} is missing or empty")
            for row in np.flatnonzero((length > 0) & (length != self._dim)).tolist():
                cells.refuse(row, f"{name} has {length[row]} numbers where the first has {self._dim}")
            side = np.zeros((len(length), self._dim), dtype=np.float32)
            good = (length > 0) & (length == self._dim)
            side[good] = (
                lists.filter(pa.array(good)).flatten().to_numpy(zero_copy_only=False).reshape(good.sum(), self._dim)
            )
            cells.refuse_where(~np.isfinite(side).all(axis=1), f"{name} holds NaN, infinity or null")
            sides.append(side)
        return sides


def check_texts(raw: RawRows, names: Sequence[str], source: str) -> tuple[list[tuple[str, ...]], list[BadRow]]:
    """The rows of a chunk whose columns `names` all hold text, and the bad rows.

    Raises:
        ChoiceError: a column is missing.
    """
    if len(raw.line):
        _require(names, raw, source, "")
    cells = Cells(raw.columns, len(raw.line))
    columns = [cells.texts(name) for name in names]
    for name, column in zip(names, columns, strict=True):
        cells.refuse_where(column.is_null(), f"{name} is missing")
    kept = [column.filter(cells.ok).to_pylist() for column in columns]
    return list(zip(*kept, strict=True)), _bad_rows(raw, cells)


def _require(names: Iterable[str], raw: RawRows, source: str, expected: str) -> None:
    if missing := [name for name in names if name not in raw.found]:
        found = ", ".join(ascii(name[:60]) for name in raw.found[:20]) or "none"
        raise ChoiceError(f"{source} has no column {', '.join(map(repr, missing))}; columns found: {found}{expected}")


def _bad_rows(raw: RawRows, cells: Cells) -> list[BadRow]:
    return [(int(raw.line[row]), cause) for row, cause in sorted(cells.causes.items())]
