"""Reading preferences from files, datasets and hub names into a `ChoiceTable`."""

import logging

import numpy as np

from tacit.choices.builder import TableBuilder
from tacit.choices.cells import compute
from tacit.choices.sources import Source, open_source
from tacit.choices.table import ChoiceTable
from tacit.choices.validation import COLUMNS, BadRow, RowChecker, check_texts, describe_bad_rows
from tacit.errors import ChoiceError

__all__ = ["read_choices", "read_items"]

logger = logging.getLogger(__name__)


def read_choices(source: Source, *, skip_bad_rows: bool = False, user: str | None = None) -> ChoiceTable:
    """All choices of a source.

    Columns: `user_id, prompt, chosen, rejected`; optional `tie` (boolean), `ranking` (list of texts, best first,
    instead of chosen and rejected), `timestamp` (seconds since the epoch), `weight` (> 0), `split`,
    `chosen_vector` and `rejected_vector` (lists of floats of one length). Others are ignored. `prompt`, `chosen` and
    `rejected` may be lists of `{role, content}` messages; see `tacit.choices.conversation`. An integer `user_id` is
    kept as its decimal string. In CSV, `ranking` and vectors are JSON lists.

    Args:
        source: path of a .jsonl, .json (one object per line), .csv (each also .gz) or .parquet file;
            `hf://owner/name[:split]`; a `datasets` Dataset, or a DatasetDict, whose keys become the `split` column.
        skip_bad_rows: drop bad rows (kept in `ChoiceTable.skipped`, and logged) instead of stopping.
        user: keep the choices of this user only; where the source has no `user_id`, every row is theirs.

    Raises:
        ChoiceError: the source cannot be read, lacks a column, has bad rows (counted, the first ten named), has no
            good ones, or none of `user`.
    """
    name, chunks = open_source(source, COLUMNS)
    checker, builder = RowChecker(name, user), TableBuilder()
    bad: list[BadRow] = []
    others: dict[str, None] = {}
    total = kept = 0
    for raw in chunks:
        rows, causes = checker.check(raw)
        total += len(raw.line) + len(raw.bad)
        if user is not None:
            others.update(dict.fromkeys(compute.unique(rows.user).to_pylist()))
            rows = rows.keep(np.asarray(compute.equal(rows.user, user), dtype=bool))
        contradictions = builder.add(rows)
        kept += len(rows) - len(contradictions)
        bad += raw.bad + causes + contradictions
    bad.sort()
    _stop_or_warn(name, bad, total, skip_bad_rows)
    if not kept:
        shown = ", ".join(map(repr, list(others)[:5])) + (", ..." if len(others) > 5 else "")
        raise ChoiceError(f"{name} has no choice of user {user!r}; its users: {shown}")
    return ChoiceTable.from_builder(builder, source=name, skipped=tuple(bad))


def read_items(source: Source) -> list[tuple[str, str]]:
    """(prompt, response) of every row of a source with those two columns, in order.

    Raises:
        ChoiceError: as `read_choices`.
    """
    names = ("prompt", "response")
    name, chunks = open_source(source, names)
    bad: list[BadRow] = []
    items: list[tuple[str, str]] = []
    total = 0
    for raw in chunks:
        good, causes = check_texts(raw, names, name)
        total += len(raw.line) + len(raw.bad)
        items += [(prompt, response) for prompt, response in good]
        bad += raw.bad + causes
    bad.sort()
    _stop_or_warn(name, bad, total, skip=False)
    return items


def _stop_or_warn(name: str, bad: list[BadRow], total: int, skip: bool) -> None:
    if not total:
        raise ChoiceError(f"{name} holds no rows; expected at least one")
    if not bad:
        return
    causes = describe_bad_rows(bad)
    if len(bad) == total:
        raise ChoiceError(f"{name}: none of {total} rows can be used: {causes}; correct them")
    if not skip:
        count = f"{len(bad)} of {total} rows {'is' if len(bad) == 1 else 'are'} bad"
        raise ChoiceError(f"{name}: {count}: {causes}; correct them, or drop them with --skip-bad-rows")
    logger.warning("%s: dropped %d of %d rows: %s", name, len(bad), total, causes)
