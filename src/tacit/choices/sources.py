"""Rows as they stand in a file or dataset, in chunks, not yet checked.

Every source yields the same thing, `RawRows`; what the cells must hold is decided in `tacit.choices.validation`.
Only the asked columns are read. A row that cannot be parsed is reported with its number; a source that cannot be
read at all is a `ChoiceError` without any text of the library that failed.
"""

import csv
import gzip
import io
import json
import os
import re
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tacit.errors import ChoiceError

__all__ = ["Column", "RawRows", "Source", "open_source"]

Column = list[Any] | pa.Array
"""The cells of one column: Python values, or an Arrow array where the source is typed."""

Source = Any
"""A path, an `hf://owner/name[:split]` name, or a `datasets` Dataset or DatasetDict."""

_CHUNK = 16_384
_HUB = re.compile(r"hf://([\w.-]+/[\w.-]+)(?::([\w.-]+))?")
_EXTENSIONS = ".jsonl, .json (one object per line), .csv, each also .gz, or .parquet"
_FOREIGN = {
    b"\x1f\x8b": "gzip-compressed; name it .gz",
    b"PAR1": "a Parquet file; name it .parquet",
    b"\xff\xfe": "UTF-16 text; save it as UTF-8",
    b"\xfe\xff": "UTF-16 text; save it as UTF-8",
}


@dataclass(frozen=True)
class RawRows:
    """A chunk of rows.

    Attributes:
        line: Int64[rows], as in `ChoiceTable.line`.
        columns: the asked columns that occur here, `rows` cells each.
        found: all column names seen here, for messages.
        bad: (line, cause) of rows that could not be parsed; they are not in `columns`.
    """

    line: NDArray[np.int64]
    columns: dict[str, Column]
    found: tuple[str, ...]
    bad: list[tuple[int, str]] = field(default_factory=list)


def open_source(source: Source, names: Iterable[str]) -> tuple[str, Iterator[RawRows]]:
    """The name of a source for messages, and its rows with the columns of `names`.

    Raises:
        ChoiceError: here or while iterating: missing, of unknown extension, damaged, empty, or unreachable.
    """
    names = tuple(names)
    if isinstance(source, str) and source.startswith("hf://"):
        return source, _dataset_rows(source, _load_from_hub(source), names)
    if isinstance(source, str | os.PathLike):
        return str(source), _file_rows(Path(source), names)
    datasets = sys.modules.get("datasets")
    if datasets is not None and isinstance(source, datasets.Dataset | datasets.DatasetDict):
        return "dataset", _dataset_rows("dataset", source, names)
    raise ChoiceError(
        f"cannot read choices from a {type(source).__name__}; expected a path ({_EXTENSIONS}), "
        "hf://owner/name[:split], or a datasets Dataset or DatasetDict"
    )


def _file_rows(path: Path, names: tuple[str, ...]) -> Iterator[RawRows]:
    suffix = path.name.lower().removesuffix(".gz")
    readers: dict[str, Callable[[str, IO[str], tuple[str, ...]], Iterator[RawRows]]] = {
        ".jsonl": _json_rows,
        ".json": _json_rows,
        ".csv": _csv_rows,
    }
    read = readers.get(Path(suffix).suffix)
    parquet = path.name.lower().endswith(".parquet")
    if path.is_dir():
        raise ChoiceError(f"{path} is a folder; expected a file: {_EXTENSIONS}")
    if not path.exists():
        raise ChoiceError(f"{path} does not exist; expected a file: {_EXTENSIONS}")
    if read is None and not parquet:
        raise ChoiceError(f"{path} has an unknown extension; expected {_EXTENSIONS}")
    try:
        if not path.stat().st_size:
            raise ChoiceError(f"{path} is empty; expected one row per choice")
        if read is None:
            yield from _parquet_rows(path, names)
            return
        with _open_text(path) as file:
            yield from read(str(path), file, names)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise ChoiceError(f"{path} is a damaged or truncated gzip file; write it again") from None
    except OSError as error:
        raise ChoiceError(f"{path} cannot be read: {error.strerror or 'input/output error'}") from None


@contextmanager
def _open_text(path: Path) -> Iterator[IO[str]]:
    """UTF-8 text; bytes that are not UTF-8 become lone surrogates, so that the row that holds them can be named."""
    with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as binary:
        head = binary.peek(4)
        for magic, what in _FOREIGN.items():
            if head.startswith(magic):
                raise ChoiceError(f"{path} is {what}")
        with io.TextIOWrapper(binary, "utf-8-sig", errors="surrogateescape", newline="") as text:
            yield text


def _json_rows(name: str, file: IO[str], names: tuple[str, ...]) -> Iterator[RawRows]:
    line: list[int] = []
    rows: list[dict[str, Any]] = []
    bad: list[tuple[int, str]] = []
    for number, text in enumerate(file, start=1):
        if not text.strip():
            continue
        if number == 1 and text.lstrip().startswith("["):
            raise ChoiceError(
                f"{name} begins with a JSON array; expected JSON Lines: one object per line, no brackets around"
            )
        try:
            row = json.loads(text)
        except json.JSONDecodeError as error:
            bad.append((number, f"not JSON ({error.msg} at column {error.colno})"))
            continue
        except (ValueError, RecursionError):
            bad.append((number, "not JSON (a number or a nesting beyond all bounds)"))
            continue
        if not isinstance(row, dict):
            bad.append((number, f"a JSON {type(row).__name__}, expected an object"))
            continue
        line.append(number)
        rows.append(row)
        if len(rows) == _CHUNK:
            yield _from_objects(line, rows, bad, names)
            line, rows, bad = [], [], []
    yield _from_objects(line, rows, bad, names)


def _from_objects(
    line: list[int], rows: list[dict[str, Any]], bad: list[tuple[int, str]], names: tuple[str, ...]
) -> RawRows:
    found: dict[str, None] = {}
    for row in rows:
        found.update(dict.fromkeys(row))
    columns: dict[str, Column] = {name: [row.get(name) for row in rows] for name in names if name in found}
    return RawRows(np.array(line, np.int64), columns, tuple(found), bad)


def _csv_rows(name: str, file: IO[str], names: tuple[str, ...]) -> Iterator[RawRows]:
    reader = csv.reader(file, strict=True)
    number, line, rows, bad = 1, [], [], []
    try:
        header = next(reader)
    except (StopIteration, csv.Error):
        raise ChoiceError(f"{name} has no header row; expected the column names in its first row") from None
    _check_distinct(name, header)
    while True:
        number += 1
        try:
            row = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            bad.append((number, f"not CSV ({error})"))
            continue
        if not row:
            continue
        if len(row) != len(header):
            bad.append((number, f"{len(row)} fields where the header has {len(header)}"))
            continue
        line.append(number)
        rows.append(row)
        if len(rows) == _CHUNK:
            yield _from_fields(header, line, rows, bad, names)
            line, rows, bad = [], [], []
    yield _from_fields(header, line, rows, bad, names)


def _from_fields(
    header: list[str], line: list[int], rows: list[list[str]], bad: list[tuple[int, str]], names: tuple[str, ...]
) -> RawRows:
    columns: dict[str, Column] = {}
    for at, name in enumerate(header):
        if name in names:
            parse = _CELLS.get(name, str)
            columns[name] = [_parse(parse, row[at]) for row in rows]
    return RawRows(np.array(line, np.int64), columns, tuple(header), bad)


def _parse(parse: Callable[[str], Any], cell: str) -> Any:
    """A CSV field as the value it spells; what spells none stays text, for the checks to refuse."""
    if not cell:
        return None
    try:
        return parse(cell)
    except (ValueError, KeyError, RecursionError):
        return cell


def _parse_boolean(cell: str) -> bool:
    return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[cell.strip().lower()]


_CELLS: dict[str, Callable[[str], Any]] = {
    "tie": _parse_boolean,
    "weight": float,
    "timestamp": float,
    "ranking": json.loads,
    "chosen_vector": json.loads,
    "rejected_vector": json.loads,
}
"""What CSV fields spell, by column; all other columns are text."""


def _parquet_rows(path: Path, names: tuple[str, ...]) -> Iterator[RawRows]:
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            found = tuple(file.schema_arrow.names)
            _check_distinct(str(path), found)
            wanted = [name for name in found if name in names]
            yield from _batches(found, file.iter_batches(_CHUNK, columns=wanted), wanted)
    except ChoiceError:
        raise
    except (pa.ArrowException, OSError, ValueError):
        raise ChoiceError(f"{path} is no readable Parquet file (damaged, truncated or of another format)") from None


def _dataset_rows(name: str, data: Any, names: tuple[str, ...]) -> Iterator[RawRows]:
    """Rows of a `datasets` Dataset, or of all splits of a DatasetDict with the split's name as `split`."""
    parts = data if isinstance(data, dict) else {None: data}
    start = 0
    for split, part in parts.items():
        found = tuple(part.column_names)
        wanted = [column for column in found if column in names]
        if wanted:
            batches = part.select_columns(wanted).with_format("arrow").iter(_CHUNK)
        else:  # nothing to read, but the column names are wanted for the message
            batches = [pa.table({"": pa.nulls(len(part))})]
        for rows in _batches(found, batches, wanted, start):
            if split is not None and "split" in names and "split" not in rows.columns:
                rows.columns["split"] = [split] * len(rows.line)
            start += len(rows.line)
            yield rows


def _batches(
    found: tuple[str, ...], batches: Iterable[pa.RecordBatch | pa.Table], wanted: list[str], start: int = 0
) -> Iterator[RawRows]:
    for batch in batches:
        columns: dict[str, Column] = {}
        for name in wanted:
            column = batch.column(name)
            columns[name] = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        yield RawRows(np.arange(start + 1, start + 1 + batch.num_rows, dtype=np.int64), columns, found)
        start += batch.num_rows


def _load_from_hub(source: str) -> Any:
    match = _HUB.fullmatch(source)
    if match is None:
        raise ChoiceError(f"'{source}' is no hub name; expected hf://owner/name or hf://owner/name:split")
    try:
        import datasets
    except ImportError:
        raise ChoiceError(f"reading {source} needs the datasets package: pip install datasets") from None
    try:
        return datasets.load_dataset(match[1], split=match[2])
    except Exception as error:  # the hub client's errors share no base class
        why = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ChoiceError(f"{source} cannot be loaded: {why}; check the name and the network, or give a file") from None


def _check_distinct(name: str, header: Iterable[str]) -> None:
    seen: set[str] = set()
    for column in header:
        if column in seen:
            raise ChoiceError(f"{name} has two columns named {column!r}; rename or drop one")
        seen.add(column)
