"""What a row of preferences must hold, with a cause in plain words for each bad row."""

import logging
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tacit.choices.builder import CleanRows
from tacit.choices.cells import TEXT, Cells, compute
from tacit.choices.columns import missing_columns
from tacit.choices.comparison import Comparison, Idle, compare
from tacit.choices.conversation import Conversation, parse_answer
from tacit.choices.sources import RawRows
from tacit.choices.times import Unit, epoch_unit
from tacit.errors import ChoiceError

__all__ = ["COLUMNS", "BadRow", "RowChecker", "check_items", "read_item"]

logger = logging.getLogger(__name__)

COLUMNS = (
    "user_id", "prompt", "chosen", "rejected", "ranking", "tie", "weight", "timestamp", "split",
    "chosen_vector", "rejected_vector",
)  # fmt: skip
"""Every column that means something; others are ignored."""

BadRow = tuple[int, str]
"""(row number in the source, cause)."""

_EXPECTED = "; expected user_id, prompt, chosen, rejected (or ranking instead of chosen and rejected)"
_VECTORS = ("chosen_vector", "rejected_vector")
_MARK = "\x1e"  # what a conversation's key begins with: such a text is no key of its own


class RowChecker:
    """Checks the chunks of one source in turn.

    Args:
        source: its name, for messages.
        user: the user who is wanted; of every row, where the source has no `user_id` column.

    Attributes:
        unit: of bare numbers in `timestamp`, settled by the first chunk that has some.
        of_user: rows of `user` that are bad or idle.
    """

    def __init__(self, source: str, user: str | None = None) -> None:
        self._source = source
        self._user = user
        self._has_vectors: bool | None = None  # settled by the first chunk that has rows
        self._dim = 0  # settled by the first vector
        self.unit: Unit | None = None
        self.of_user: list[BadRow] = []

    def check(self, raw: RawRows) -> tuple[CleanRows, list[BadRow], list[BadRow]]:
        """The good rows of a chunk, the bad ones, and the idle ones, which say nothing of what their user prefers.

        Raises:
            ChoiceError: a required column is missing, or vectors begin half-way through the source.
        """
        cells = Cells(raw)
        if len(raw.line):
            self._check_columns(raw, cells)
        if "user_id" not in cells.columns and self._user is not None:
            cells.columns["user_id"] = [self._user] * len(raw.line)
        user = cells.texts("user_id", numbers=True)
        cells.refuse_where(user.is_null(), "user_id is missing")
        tie = cells.booleans("tie")
        weight = cells.numbers("weight", 1.0)
        timestamp = self._seconds(cells)
        split = cells.texts("split", numbers=True) if "split" in cells.columns else None
        plain = _is_plain(cells, raw.spelled)
        rows = _plain_rows(cells, tie) if plain else _rows(cells, tie)
        vectors = self._vectors(cells, rows.ranked) if self._has_vectors else None
        idle = rows.idle & cells.ok
        ok = cells.ok & ~idle

        number = np.cumsum(ok) - 1
        entries = ok[rows.owner]
        clean = CleanRows(
            user=user.filter(ok),
            prompt=rows.prompt.filter(ok),
            split=None if split is None else split.filter(ok),
            weight=weight[ok].astype(np.float32),
            timestamp=timestamp[ok],
            line=raw.line[ok],
            response=rows.response.filter(entries),
            owner=number[rows.owner[entries]],
            slot=rows.slot[entries],
            rank=rows.rank[entries],
            vectors=np.stack(vectors)[rows.slot[entries], rows.owner[entries]] if vectors and self._dim else None,
        )
        bad = [(int(raw.line[row]), cause) for row, cause in sorted(cells.causes.items())]
        nothing = [(int(raw.line[row]), _IDLE) for row in np.flatnonzero(idle).tolist()]
        if self._user is not None:
            own = set(raw.line[np.asarray(compute.fill_null(compute.equal(user, self._user), False), bool)].tolist())
            self.of_user += [each for each in bad + nothing if each[0] in own]
        return clean, bad, nothing

    def _seconds(self, cells: Cells) -> NDArray[np.float64]:
        """Float64[rows] seconds since the epoch."""
        seconds, bare = cells.times("timestamp")
        if bare.any():
            if self.unit is None:
                self.unit = epoch_unit(seconds[bare])
                if self.unit[1] != 1:
                    logger.warning("%s: timestamps are read as %s since 1970", self._source, self.unit[0])
            seconds[bare] = seconds[bare] * self.unit[1]
        return seconds

    def _check_columns(self, raw: RawRows, cells: Cells) -> None:
        vectors = any(name in raw.columns for name in _VECTORS)
        if self._has_vectors is None:
            self._has_vectors = vectors
            required = [] if self._user is not None else ["user_id"]
            required += [] if not cells.is_text("chosen") else ["prompt"]  # messages may hold their prompt
            required += [] if "ranking" in raw.columns else ["chosen", "rejected"]
            required += list(_VECTORS) if vectors else []
            if missing := [name for name in required if name not in raw.columns]:
                raise missing_columns(self._source, missing, raw.found, _EXPECTED)
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


_IDLE = "its answers are the same text"


class _Rows:
    """All rows of a chunk as entries, one an answer: first the chosen ones, then the rejected, then those of rankings.

    Shapes:
        prompt: text [rows].
        response: text [entries]; owner, slot Int64[entries]; rank Int8[entries].
        idle, ranked: Bool[rows].
    """

    def __init__(self, prompt: pa.Array, found: Sequence[Comparison | None], idle: NDArray[np.bool_]) -> None:
        pairs = [(row, each) for row, each in enumerate(found) if each is not None and len(each.answers) == 2]
        lists = [(row, each) for row, each in enumerate(found) if each is not None and len(each.answers) > 2]
        entries = [(row, each.answers[slot], slot, each.ranks[slot]) for slot in (0, 1) for row, each in pairs]
        entries += [(row, each.answers[i], i, each.ranks[i]) for row, each in lists for i in range(len(each.answers))]
        self.prompt, self.idle = prompt, idle
        self.response = pa.array([entry[1] for entry in entries], TEXT)
        self.owner = np.array([entry[0] for entry in entries], np.int64)
        self.slot = np.array([entry[2] for entry in entries], np.int64)
        self.rank = np.array([entry[3] for entry in entries], np.int8)
        self.ranked = np.zeros(len(idle), dtype=bool)
        self.ranked[[row for row, _ in lists]] = True

    @classmethod
    def of_pairs(cls, prompt: pa.Array, chosen: pa.Array, rejected: pa.Array, tie: NDArray[np.bool_]) -> "_Rows":
        """The same of plain pairs, column by column."""
        rows = cls.__new__(cls)
        same = compute.equal(compute.utf8_trim_whitespace(chosen), compute.utf8_trim_whitespace(rejected))
        number = np.arange(len(tie))
        rows.prompt, rows.response = prompt, pa.concat_arrays([chosen, rejected])
        rows.idle = np.asarray(compute.fill_null(same, False)).astype(bool)
        rows.owner, rows.slot = np.tile(number, 2), np.repeat([0, 1], len(tie))
        rows.rank = np.concatenate([np.zeros_like(number), ~tie]).astype(np.int8)
        rows.ranked = np.zeros(len(tie), dtype=bool)
        return rows


def _is_plain(cells: Cells, spelled: bool) -> bool:
    """Whether all rows are pairs of texts to a text, which whole columns can be asked about at once."""
    names = ("prompt", "chosen", "rejected")
    if "ranking" in cells.columns or not all(name in cells.columns and cells.is_text(name) for name in names):
        return False
    # A text of U+001E in front would be taken for a conversation's key; in CSV one may spell a list of messages.
    odd = (_MARK, "[{", "[[") if spelled else (_MARK,)
    return not any(compute.any(compute.starts_with(cells.texts(name), mark)).as_py() for name in names for mark in odd)


def _plain_rows(cells: Cells, tie: NDArray[np.bool_]) -> _Rows:
    prompt, chosen, rejected = (cells.texts(name) for name in ("prompt", "chosen", "rejected"))
    for name, column in (("prompt", prompt), ("chosen", chosen), ("rejected", rejected)):
        cells.refuse_where(column.is_null(), f"{name} is missing")
    return _Rows.of_pairs(prompt, chosen, rejected, tie)


def _rows(cells: Cells, tie: NDArray[np.bool_]) -> _Rows:
    """Row by row: rankings, messages, several rejected answers."""
    columns = [cells.values(name) for name in ("prompt", "chosen", "rejected", "ranking")]
    found: list[Comparison | None] = []
    idle = np.zeros(len(tie), dtype=bool)
    for row, (prompt, chosen, rejected, ranking) in enumerate(zip(*columns, strict=True)):
        read = None
        try:
            read = compare(prompt, chosen, rejected, ranking, tie=bool(tie[row]))
            "".join((read.prompt, *read.answers)).encode()
        except ChoiceError as error:
            cells.refuse(row, str(error))
        except UnicodeEncodeError:
            cells.refuse(row, "a text is not UTF-8 text")
            read = None
        except Idle:
            idle[row] = True
        found.append(read)
    rows = _Rows(pa.array([read.prompt if read else "" for read in found], TEXT), found, idle)
    rows.ranked[[row for row, ranking in enumerate(columns[3]) if ranking is not None]] = True
    return rows


def check_items(raw: RawRows, source: str) -> tuple[list[tuple[str, str]], list[BadRow]]:
    """(prompt key, response) of the good rows of a chunk, and the bad rows.

    Raises:
        ChoiceError: a column is missing.
    """
    names = ("prompt", "response")
    if len(raw.line) and (missing := [name for name in names if name not in raw.columns]):
        raise missing_columns(source, missing, raw.found, "")
    cells = Cells(raw)
    items: list[tuple[str, str]] = []
    bad: list[BadRow] = []
    for line, prompt, response in zip(raw.line.tolist(), *(cells.values(name) for name in names), strict=True):
        try:
            items.append(read_item(prompt, response))
        except ChoiceError as error:
            bad.append((line, str(error)))
    return items, bad


def read_item(prompt: object, response: object) -> tuple[str, str]:
    """(prompt key, response) of a prompt and an answer in any form."""
    read = []
    for name, said, parse in (("prompt", prompt, Conversation.parse), ("response", response, parse_answer)):
        if said is None:
            raise ChoiceError(f"{name} is missing")
        try:
            found = parse(said)
        except ChoiceError as error:
            raise ChoiceError(f"{name} {error}") from None
        read.append(found.key if isinstance(found, Conversation) else found)
    try:
        "".join(read).encode()
    except UnicodeEncodeError:
        raise ChoiceError("a text is not UTF-8 text") from None
    return read[0], read[1]
