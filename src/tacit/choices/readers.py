"""Reading preferences of any log format from files, datasets, frames and hub names into a `ChoiceTable`."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

import numpy as np

from tacit.choices.builder import TableBuilder
from tacit.choices.cells import compute
from tacit.choices.columns import match_columns, renamed
from tacit.choices.dropping import describe_bad_rows, stop_or_skip
from tacit.choices.formats.log_format import formats, in_format, recognise
from tacit.choices.sources import RawRows, Source, open_source
from tacit.choices.table import ChoiceTable
from tacit.choices.validation import COLUMNS, BadRow, RowChecker, check_items
from tacit.errors import ChoiceError

__all__ = ["read_choices", "read_items"]

logger = logging.getLogger(__name__)

_OWN = "tacit"


def read_choices(
    source: Source,
    *,
    skip_bad_rows: bool = False,
    user: str | None = None,
    format: str | None = None,  # noqa: A002
    columns: Mapping[str, str] | None = None,
) -> ChoiceTable:
    """All choices of a source.

    Columns of our own form: `user_id, prompt, chosen, rejected`; optional `tie` (boolean), `ranking` (answers best
    first, instead of chosen and rejected; a list inside it is a level of ties), `timestamp` (ISO 8601 or a number since
    1970), `weight` (> 0), `split`, `chosen_vector` and `rejected_vector` (lists of floats of one length). Others are
    ignored. `prompt` and answers may be texts or messages (`tacit.choices.conversation`), `rejected` also a list of
    answers. In CSV, lists are JSON. Other log formats are recognised by their columns (`tacit.choices.formats`).

    Rows whose answers are all the same text say nothing; they are dropped and counted in `ChoiceTable.skipped`.

    Args:
        source: path of a .jsonl, .json, .csv, .tsv (each also .gz) or .parquet file; `hf://owner/name[:split]`; a
            `datasets` Dataset, or a DatasetDict, whose keys become the `split` column; a pandas or polars frame, an
            Arrow table, or a list of dicts.
        skip_bad_rows: drop bad rows (kept in `ChoiceTable.skipped`, and logged) instead of stopping.
        user: keep the choices of this user only; where the source has no `user_id`, every row is theirs.
        format: the name of a log format, where it is not to be recognised.
        columns: {our name: the source's name}; names that differ by case, space or underscore match without.

    Raises:
        ChoiceError: the source cannot be read, lacks a column, has bad rows (counted, the first ten named), has no
            good ones, or none of `user`.
    """
    _check_mapping(columns, format)
    name, kind, chunks = _in_our_form(source, format, columns)
    checker, builder = RowChecker(name, user), TableBuilder()
    bad: list[BadRow] = []
    idle: list[BadRow] = []
    others: dict[str, None] = {}
    own: list[BadRow] = []
    kept = good = 0
    for raw in chunks:
        rows, causes, nothing = checker.check(raw)
        good += len(rows)
        if user is not None:
            others.update(dict.fromkeys(compute.unique(rows.user).to_pylist()))
            rows = rows.keep(np.asarray(compute.equal(rows.user, user), dtype=bool))
        contradictions = builder.add(rows)
        own += contradictions
        kept += len(rows) - len(contradictions)
        good -= len(contradictions)
        bad += raw.bad + causes + contradictions
        idle += raw.idle + nothing
    stop_or_skip(name, bad, good + len(bad) + len(idle), skip_bad_rows=skip_bad_rows)
    if not kept and user is None:
        raise ChoiceError(f"{name}: none of {len(idle)} rows can be used: row {idle[0][0]}: {idle[0][1]}")
    own += checker.of_user
    if not kept and own:
        raise ChoiceError(
            f"{name}: none of the {len(own)} rows of user {user!r} can be used: {describe_bad_rows(sorted(own))}"
        )
    if not kept and not others:
        raise ChoiceError(f"{name} has no choice of user {user!r}, nor a usable one of anybody else")
    if not kept:
        shown = ", ".join(map(repr, list(others)[:5])) + (", ..." if len(others) > 5 else "")
        raise ChoiceError(f"{name} has no choice of user {user!r}; its users: {shown}")
    if idle:
        logger.warning("%s: dropped %d rows that compare nothing (row %d: %s)", name, len(idle), *min(idle))
    return ChoiceTable.from_builder(builder, source=name, skipped=tuple(sorted(bad + idle)), format=kind)


def read_items(
    source: Source, *, skip_bad_rows: bool = False, columns: Mapping[str, str] | None = None
) -> list[tuple[str, str]]:
    """(prompt key, response) of every row of a source with the columns `prompt` and `response`, in order.

    Raises:
        ChoiceError: as `read_choices`.
    """
    names = ("prompt", "response")
    name, chunks = open_source(source, lambda found: list(match_columns(found, names, columns).values()))
    bad: list[BadRow] = []
    items: list[tuple[str, str]] = []
    for raw in chunks:
        good, causes = check_items(renamed(raw, match_columns(raw.found, names, columns if raw.found else None)), name)
        items += good
        bad += raw.bad + causes
    stop_or_skip(name, bad, len(items) + len(bad), skip_bad_rows=skip_bad_rows)
    return items


def _in_our_form(
    source: Source, wanted: str | None, mapping: Mapping[str, str] | None
) -> tuple[str, str, Iterator[RawRows]]:
    """The source's name, its log format, and its chunks in our own form."""
    kinds = [formats[wanted]] if wanted else list(formats.values())

    def worth_reading(found: Sequence[str]) -> Sequence[str]:
        names: dict[str, None] = {}
        for kind in kinds:
            known = match_columns(found, (*kind.needs, *kind.reads), _of(kind, mapping) if found else None)
            if all(column in known for column in kind.needs):
                names.update(dict.fromkeys(known.values()))
        return [name for name in found if name in names]

    name, chunks = open_source(source, worth_reading)
    seen: list[RawRows] = []
    for raw in chunks:
        seen.append(raw)
        if len(raw.line):
            break
    kind = wanted or (_recognised(seen[-1], mapping) if seen else None) or _OWN
    if kind != _OWN:
        logger.warning("%s: read as %s", name, formats[kind].about)
    return name, kind, in_format(kind, chain(seen, chunks), mapping, name)


def _recognised(raw: RawRows, mapping: Mapping[str, str] | None) -> str | None:
    if not len(raw.line):
        return None
    first = {name: cells[0] if isinstance(cells, list) else cells[0].as_py() for name, cells in raw.columns.items()}
    return recognise(raw.found, first, mapping)


def _of(kind: type, mapping: Mapping[str, str] | None) -> dict[str, str]:
    return {ours: theirs for ours, theirs in (mapping or {}).items() if ours in (*kind.needs, *kind.reads)}  # type: ignore[attr-defined]


def _check_mapping(mapping: Mapping[str, str] | None, wanted: str | None) -> None:
    kinds = [formats[wanted]] if wanted else list(formats.values()) if mapping else []
    known = dict.fromkeys(name for kind in kinds for name in (*kind.needs, *kind.reads)) or dict.fromkeys(COLUMNS)
    for name in mapping or {}:
        if name not in known:
            raise ChoiceError(f"nothing is read as {name!r}; a column can be given for {', '.join(known)}")
