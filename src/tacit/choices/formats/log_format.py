"""The contract of a log format, and how the format of a source is recognised."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import pyarrow as pa

from tacit.choices.columns import match_columns, renamed
from tacit.choices.comparison import Idle
from tacit.choices.sources import RawRows
from tacit.errors import ChoiceError
from tacit.registry import Registry

__all__ = ["LogFormat", "Row", "formats", "in_format", "numbered_rows", "own_rows", "recognise"]

Row = Mapping[str, Any]
"""One row by column name, missing cells None."""

formats: Registry[type["LogFormat"]] = Registry("log format", "tacit.choices.formats")


class LogFormat:
    """One form of log. Most only say how a row becomes rows of our own form; `convert` is for those that need more.

    Attributes:
        about: what it is, in a few words for the user.
        needs: columns without which it is not this format.
        reads: further columns that it understands.
    """

    about: ClassVar[str]
    needs: ClassVar[tuple[str, ...]]
    reads: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def looks_right(cls, row: Row) -> bool:
        """Whether the first row can be of this format, where column names alone do not tell."""
        return True

    def rows(self, row: Row) -> Iterable[Row]:
        """The rows of our own form (`tacit.choices.validation.COLUMNS`) that one row says.

        Raises:
            ChoiceError: the cause, in words for the user.
            Idle: the row is well formed and says nothing of what its user prefers.
        """
        raise NotImplementedError

    def convert(self, chunks: Iterable[RawRows]) -> Iterator[RawRows]:
        """Chunks of our own form; `line` keeps saying where each row came from."""
        for raw in chunks:
            lines, rows, bad, idle = [], [], list(raw.bad), list(raw.idle)
            for line, row in numbered_rows(raw):
                try:
                    made = [dict(own) for own in self.rows(row)]
                except ChoiceError as error:
                    bad.append((line, str(error)))
                    continue
                except Idle as error:
                    idle.append((line, str(error)))
                    continue
                except (TypeError, AttributeError, KeyError, ValueError):  # a cell of a kind that the format never has
                    bad.append((line, f"not as {self.about} has it"))
                    continue
                lines += [line] * len(made)
                rows += made
            yield own_rows(raw, lines, rows, bad, idle)


def numbered_rows(raw: RawRows) -> Iterator[tuple[int, Row]]:
    """(line, row) of a chunk, as Python values."""
    cells = {name: values if isinstance(values, list) else values.to_pylist() for name, values in raw.columns.items()}
    for place, line in enumerate(raw.line.tolist()):
        yield line, {name: values[place] for name, values in cells.items()}


def own_rows(
    raw: RawRows, lines: Sequence[int], rows: Sequence[Row], bad: list[tuple[int, str]], idle: list[tuple[int, str]]
) -> RawRows:
    """A chunk of our own form in place of `raw`."""
    names = dict.fromkeys(name for row in rows for name in row)
    columns: dict[str, Any] = {name: [row.get(name) for row in rows] for name in names}
    columns = {name: cells for name, cells in columns.items() if any(cell is not None for cell in cells)}
    line = pa.array(lines, pa.int64()).to_numpy(zero_copy_only=False)
    return replace(raw, line=line, columns=columns, bad=bad, idle=idle, spelled=False)


def recognise(found: Sequence[str], first: Row, mapping: Mapping[str, str] | None = None) -> str | None:
    """The format whose columns are there and whose first row looks right; the one that needs most, None = none.

    Args:
        found: column names.
        first: the first row by those names.
        mapping: {name: found column} as given by hand.
    """
    fitting = []
    for name, kind in formats.items():
        known = match_columns(found, (*kind.needs, *kind.reads), _known(mapping, kind))
        if all(column in known for column in kind.needs):
            row = {ours: first.get(theirs) for ours, theirs in known.items()}
            if kind.looks_right(row):
                fitting.append((len(kind.needs), name))
    return max(fitting, key=lambda each: each[0], default=(0, None))[1]


def in_format(
    name: str, chunks: Iterable[RawRows], mapping: Mapping[str, str] | None, source: str
) -> Iterator[RawRows]:
    """Chunks of a format's columns as chunks of our own form.

    Raises:
        ChoiceError: a column is missing that the format needs.
    """
    kind = formats[name]
    own = _known(mapping, kind)

    def matched() -> Iterator[RawRows]:
        for raw in chunks:
            known = match_columns(raw.found, (*kind.needs, *kind.reads), own if len(raw.line) else None)
            missing = [column for column in kind.needs if column not in known]
            if missing and len(raw.line):
                raise ChoiceError(f"{source} is not in the format {name!r}: it has no column {missing[0]!r}")
            yield renamed(raw, known)

    return kind().convert(matched())


def _known(mapping: Mapping[str, str] | None, kind: type[LogFormat]) -> dict[str, str]:
    """The part of a mapping that a format understands."""
    return {name: column for name, column in (mapping or {}).items() if name in (*kind.needs, *kind.reads)}
