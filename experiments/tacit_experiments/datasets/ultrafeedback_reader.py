"""Reading rated responses in the schema of UltraFeedback (Cui et al., 2023; dataset `openbmb/UltraFeedback`).

One row is one prompt:

    {"instruction": text, "completions": [{"response": text, "annotations": {"helpfulness": {"Rating": "4", ...},
     "honesty": ..., "truthfulness": ..., "instruction_following": ...}, ...}, ...], ...}

A rating is 1 to 5, as a number or its text; "N/A", empty or missing is unknown (NaN). What is merely thin is dropped
and counted: rows without completions, blank responses, and what repeats a text (rows of one instruction become one
prompt; of equal responses to it the first stays). What contradicts the schema is a bad row.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tacit.choices.cells import Cells
from tacit.choices.dropping import describe_bad_rows
from tacit.choices.sources import Column, RawRows, Source, open_source
from tacit.choices.validation import BadRow
from tacit.errors import ChoiceError

__all__ = ["RATINGS", "RatedResponses", "read_ultrafeedback"]

logger = logging.getLogger(__name__)

RATINGS = ("helpfulness", "honesty", "truthfulness", "instruction_following")
"""The ratings of a response, in the order of `RatedResponses.ratings`."""

_LOWEST, _HIGHEST = 1.0, 5.0
_UNKNOWN = ("", "n/a")
_COUNTED = ("rows", "rows without completions", "repeated instructions", "blank responses", "repeated responses")


@dataclass(frozen=True, eq=False)
class RatedResponses:
    """Distinct responses to distinct prompts, both in file order, with their ratings.

    Shapes:
        prompts: text [prompts], those with at least one response.
        responses: text [items].
        prompt: Int64[items], non-decreasing: the prompt of each item.
        ratings: Float32[items 4], in the order of `RATINGS`; NaN = unknown.
        source: where they came from, for messages.
        counts: what was read and what was dropped, by name.
        skipped: (line, cause) of each bad row that `skip_bad_rows` dropped.
    """

    prompts: tuple[str, ...]
    responses: tuple[str, ...]
    prompt: NDArray[np.int64]
    ratings: NDArray[np.float32]
    source: str
    counts: dict[str, int]
    skipped: tuple[BadRow, ...] = field(default=(), repr=False)

    def of(self, names: Sequence[str]) -> NDArray[np.float32]:
        """Float32[items names]: the ratings of the given names."""
        return self.ratings[:, [RATINGS.index(name) for name in names]]

    def item(self, i: int) -> tuple[str, str]:
        """(prompt, response) of item `i`."""
        return self.prompts[self.prompt[i]], self.responses[i]

    def pairs(self) -> NDArray[np.int64]:
        """Int64[pairs 2]: all unordered pairs of responses to one prompt as item ids, sorted by prompt."""
        size = np.bincount(self.prompt, minlength=len(self.prompts))
        start = np.cumsum(size) - size
        blocks = [np.empty((0, 2), np.int64)]
        for n in np.unique(size):
            corners = np.stack(np.triu_indices(n, 1), axis=-1)
            blocks.append((start[size == n, None, None] + corners).reshape(-1, 2))
        pairs = np.concatenate(blocks)
        return pairs[np.lexsort(pairs.T[::-1])]


def read_ultrafeedback(source: Source, *, skip_bad_rows: bool = False) -> RatedResponses:
    """All rated responses of a source, read chunk by chunk.

    Args:
        source: a .jsonl, .json (one object per line), each also .gz, or .parquet file, `hf://owner/name[:split]`, or a
            `datasets` Dataset or DatasetDict (all its splits).
        skip_bad_rows: drop bad rows (kept in `RatedResponses.skipped`, and logged) instead of stopping.

    Raises:
        ChoiceError: the source cannot be read, lacks a column, has bad rows (counted, the first ten named), or no
            response at all.
    """
    columns = ("instruction", "completions")
    name, chunks = open_source(source, lambda names: [name for name in names if name in columns])
    found: dict[str, dict[str, tuple[float, ...]]] = {}
    counts: dict[str, int] = dict.fromkeys(_COUNTED, 0)
    bad: list[BadRow] = []
    for raw in chunks:
        if len(raw.line) and (missing := [column for column in columns if column not in raw.found]):
            seen = ", ".join(ascii(column[:60]) for column in raw.found[:20]) or "none"
            raise ChoiceError(
                f"{name} has no column {', '.join(map(repr, missing))}; columns found: {seen}; "
                "expected the schema of openbmb/UltraFeedback"
            )
        counts["rows"] += len(raw.line) + len(raw.bad)
        bad += raw.bad
        for row in _rows(raw, bad):
            _take(row, found, counts)
    bad.sort()
    if bad:
        causes = describe_bad_rows(bad)
        if not skip_bad_rows:
            count = f"{len(bad)} of {counts['rows']} rows {'is' if len(bad) == 1 else 'are'} bad"
            raise ChoiceError(f"{name}: {count}: {causes}; correct them, or drop them with skip_bad_rows")
        logger.warning("%s: dropped %d of %d rows: %s", name, len(bad), counts["rows"], causes)
    kept = {prompt: responses for prompt, responses in found.items() if responses}
    if not kept:
        raise ChoiceError(f"{name}: none of {counts['rows']} rows has a response; expected completions with a response")
    ratings = np.array([given for responses in kept.values() for given in responses.values()], np.float32)
    counts |= {"bad rows": len(bad), "unknown ratings": int(np.isnan(ratings).sum())}
    return RatedResponses(
        prompts=tuple(kept),
        responses=tuple(text for responses in kept.values() for text in responses),
        prompt=np.repeat(np.arange(len(kept)), [len(responses) for responses in kept.values()]),
        ratings=ratings,
        source=name,
        counts=counts,
        skipped=tuple(bad),
    )


_Row = tuple[str, list[tuple[str | None, tuple[float, ...]]]]
"""An instruction with (response or None where blank, ratings) of each of its completions."""


def _rows(raw: RawRows, bad: list[BadRow]) -> Iterator[_Row]:
    """The good rows of a chunk; the others go to `bad`."""
    cells = Cells(raw)
    instruction = cells.texts("instruction")
    cells.refuse_where(instruction.is_null(), "instruction is missing")
    completions = raw.columns.get("completions", [])
    for row, text in enumerate(instruction.to_pylist()):
        if not cells.ok[row]:
            continue
        try:
            yield text, _completions(completions, row)
        except ValueError as error:
            cells.refuse(row, str(error))
    bad += [(int(raw.line[row]), cause) for row, cause in cells.causes.items()]


def _take(row: _Row, found: dict[str, dict[str, tuple[float, ...]]], counts: dict[str, int]) -> None:
    """Add a row to the responses by prompt, counting what is dropped."""
    instruction, completions = row
    counts["rows without completions"] += not completions
    counts["repeated instructions"] += instruction in found
    responses = found.setdefault(instruction, {})
    for text, ratings in completions:
        if text is None:
            counts["blank responses"] += 1
        elif text in responses:
            counts["repeated responses"] += 1
        else:
            responses[text] = ratings


def _completions(column: Column, row: int) -> list[tuple[str | None, tuple[float, ...]]]:
    """What one cell of the column `completions` holds; a ValueError says in plain words what is wrong with it."""
    try:
        cell = column[row].as_py() if isinstance(column, pa.Array) else column[row]
    except UnicodeDecodeError:
        raise ValueError("a text of completions is not UTF-8") from None
    if not isinstance(cell, list | None):
        raise ValueError(f"completions is {_show(cell)}, expected a list")  # noqa: TRY004
    parsed = []
    for number, completion in enumerate(cell or (), start=1):
        if completion is None:
            continue
        where = f"completion {number}"
        text = _member(completion, "response", where, str)
        annotations = _member(completion, "annotations", where, dict) or {}
        ratings = tuple(_rating(annotations, name, where) for name in RATINGS)
        try:
            parsed.append((text if text is not None and text.encode().strip() else None, ratings))
        except UnicodeEncodeError:
            raise ValueError(f"the response of {where} is not UTF-8 text") from None
    return parsed


def _rating(annotations: dict[str, Any], name: str, where: str) -> float:
    given = (_member(annotations, name, where, dict) or {}).get("Rating")
    if given is None or (isinstance(given, str) and given.strip().lower() in _UNKNOWN):
        return float("nan")
    try:
        value = float("nan") if isinstance(given, bool) else float(given)
    except (TypeError, ValueError, OverflowError):
        value = float("nan")
    if not _LOWEST <= value <= _HIGHEST:
        raise ValueError(f"the {name} Rating of {where} is {_show(given)}, expected 1 to 5 or N/A")
    return value


def _member(cell: object, name: str, where: str, kind: type[Any]) -> Any:
    """`cell[name]`, of the given kind or None."""
    if not isinstance(cell, dict):
        raise ValueError(f"{where} holds {_show(cell)}, expected an object")  # noqa: TRY004
    found = cell.get(name)
    if found is not None and not isinstance(found, kind):
        expected = "text" if kind is str else "an object"
        raise ValueError(f"{name} of {where} is {_show(found)}, expected {expected}")
    return found


def _show(cell: object) -> str:
    text = ascii(cell)
    return text if len(text) <= 40 else text[:37] + "..."
