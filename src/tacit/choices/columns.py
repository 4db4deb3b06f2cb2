"""Column names as people write them, matched with the names that a log format reads.

`User ID`, `userId` and `user-id` are all `user_id`: case, spaces, underscores and hyphens do not count. An exact name
wins over a loose one, and what a caller maps by hand wins over both.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches

from tacit.choices.sources import RawRows
from tacit.errors import ChoiceError

__all__ = ["match_columns", "missing_columns", "renamed"]


def match_columns(
    found: Sequence[str], names: Sequence[str], mapping: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Which found column stands for each of `names`: {name: found}; names without one are left out.

    Args:
        found: the columns of a source.
        names: what a format reads.
        mapping: {name: found} as given by hand.

    Raises:
        ChoiceError: a mapped column does not exist.
    """
    loose: dict[str, str] = {}
    for column in found:
        loose.setdefault(_loose(column), column)
    chosen: dict[str, str] = {}
    for name, column in (mapping or {}).items():
        known = column if column in found else loose.get(_loose(column))
        if known is None:
            raise ChoiceError(f"no column {column!r} to map {name!r} to; columns found: {_listed(found)}")
        chosen[name] = known
    taken = set(chosen.values())
    for name in names:
        if name not in chosen and name in found and name not in taken:
            chosen[name] = name
    taken = set(chosen.values())
    for name in names:
        column = loose.get(_loose(name))
        if name not in chosen and column is not None and column not in taken:
            chosen[name] = column
    return chosen


def renamed(rows: RawRows, names: Mapping[str, str]) -> RawRows:
    """The rows with the columns of `names` ({name: found}) under their new names, and no others."""
    kept = {name: rows.columns[column] for name, column in names.items() if column in rows.columns}
    if "split" in rows.columns:  # of a DatasetDict
        kept.setdefault("split", rows.columns["split"])
    return replace(rows, columns=kept)


def missing_columns(source: str, missing: Sequence[str], found: Sequence[str], expected: str) -> ChoiceError:
    """The error for a source without some columns, with the nearest column there is as the mend."""
    near = {_loose(column): column for column in found}
    hints = []
    for name in missing:
        close = get_close_matches(_loose(name), near, n=1, cutoff=0.6) or [
            key for key in near if key and (key in _loose(name) or _loose(name) in key)
        ]
        if close:
            hints.append(f"columns={{'{name}': {near[close[0]]!r}}}")
    hint = f"; did you mean {' or '.join(hints)}?" if hints else ""
    return ChoiceError(
        f"{source} has no column {', '.join(map(repr, missing))}; columns found: {_listed(found)}{hint}{expected}"
    )


def _listed(found: Sequence[str]) -> str:
    return ", ".join(ascii(name[:60]) for name in found[:20]) or "none"


def _loose(name: str) -> str:
    return re.sub(r"[\s_\-]+", "", name).lower()
