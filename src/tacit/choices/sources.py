"""Rows as they stand in a file or dataset, in chunks, not yet checked.

Every source yields the same thing, `RawRows`; which log format they are in is decided in `tacit.choices.formats`, and
what the cells must hold in `tacit.choices.validation`. Only the asked columns are read. A row that cannot be parsed is
reported with its number; a source that cannot be read at all is a `ChoiceError` without any text of the library that
failed.
"""

import csv
import gzip
import io
import json
import os
import re
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
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
"""A path, an `hf://owner/name[:split]` name, a `datasets` Dataset or DatasetDict, a pandas or polars frame, an Arrow
table, or a list of dicts."""

Wanted = Callable[[Sequence[str]], Sequence[str]]
"""From the column names of a source to those worth reading."""

_CHUNK = 16_384
_HUB = re.compile(r"hf://([\w.-]+/[\w.-]+)(?::([\w.-]+))?")
_EXTENSIONS = ".jsonl, .json, .csv or .tsv, each also .gz, or .parquet"
_DELIMITERS = ",;\t|"
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
        idle: (line, cause) of rows that are well formed and say nothing of what a user prefers.
        spelled: whether cells are texts that spell their values, as in CSV.
    """

    line: NDArray[np.int64]
    columns: dict[str, Column]
    found: tuple[str, ...]
    bad: list[tuple[int, str]] = field(default_factory=list)
    idle: list[tuple[int, str]] = field(default_factory=list)
    spelled: bool = False


def open_source(source: Source, wanted: Wanted) -> tuple[str, Iterator[RawRows]]:
    """The name of a source for messages, and its rows with the columns that `wanted` picks.

    Raises:
        ChoiceError: here or while iterating: missing, of unknown extension, damaged, empty, or unreachable.
    """
    if isinstance(source, str) and source.startswith("hf://"):
        return source, _dataset_rows(source, _load_from_hub(source), wanted)
    if isinstance(source, str | os.PathLike):
        return str(source), _file_rows(Path(source), wanted)
    datasets = sys.modules.get("datasets")
    if datasets is not None and isinstance(source, datasets.Dataset | datasets.DatasetDict):
        return "dataset", _dataset_rows("dataset", source, wanted)
    if hasattr(source, "__arrow_c_stream__") or type(source).__module__.startswith("pandas"):
        return "table", _frame_rows(source, wanted)
    if isinstance(source, Iterable) and not isinstance(source, bytes | dict):
        return "rows", _object_rows(enumerate(source, start=1), wanted)
    raise ChoiceError(
        f"cannot read choices from a {type(source).__name__}; expected a path ({_EXTENSIONS}), "
        "hf://owner/name[:split], a datasets Dataset, a pandas or polars frame, an Arrow table, or a list of dicts"
    )


def _file_rows(path: Path, wanted: Wanted) -> Iterator[RawRows]:
    suffix = path.name.lower().removesuffix(".gz")
    readers: dict[str, Callable[[str, IO[str], Wanted], Iterator[RawRows]]] = {
        ".jsonl": _json_rows,
        ".ndjson": _json_rows,
        ".json": _json_rows,
        ".csv": _csv_rows,
        ".tsv": _csv_rows,
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
            yield from _parquet_rows(path, wanted)
            return
        with _open_text(path) as file:
            yield from read(str(path), file, wanted)
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


def _json_rows(name: str, file: IO[str], wanted: Wanted) -> Iterator[RawRows]:
    """JSON Lines, numbered by line, or one JSON array or object over several lines, numbered by element."""
    first = next((line for line in file if line.strip()), "")
    file.seek(0)
    if not first.lstrip().startswith("[") and first.strip() != "{":
        yield from _object_rows(((n, text) for n, text in enumerate(file, start=1) if text.strip()), wanted, lines=True)
        return
    try:
        rows = json.load(file)
    except (ValueError, RecursionError) as error:
        where = f": {error.msg} at line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise ChoiceError(f"{name} is not valid JSON{where}; correct it, or write one object per line") from None
    yield from _object_rows(enumerate(rows if isinstance(rows, list) else [rows], start=1), wanted)


def _object_rows(numbered: Iterable[tuple[int, Any]], wanted: Wanted, *, lines: bool = False) -> Iterator[RawRows]:
    """Chunks of (number, object), or of (number, JSON text) where they are `lines`."""
    line: list[int] = []
    rows: list[dict[str, Any]] = []
    bad: list[tuple[int, str]] = []
    for number, row in numbered:
        row = _parse_json(row) if lines else row
        if isinstance(row, _NotJson):
            bad.append((number, row.cause))
            continue
        if not isinstance(row, dict):
            bad.append((number, f"a {_JSON.get(type(row), type(row).__name__)}, expected an object"))
            continue
        line.append(number)
        rows.append(row)
        if len(rows) == _CHUNK:
            yield _from_objects(line, rows, bad, wanted)
            line, rows, bad = [], [], []
    yield _from_objects(line, rows, bad, wanted)


_JSON = {list: "JSON list", str: "JSON text", int: "JSON number", float: "JSON number", type(None): "JSON null"}


@dataclass(frozen=True)
class _NotJson:
    cause: str


def _parse_json(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        return _NotJson(f"not JSON ({error.msg} at column {error.colno})")
    except (ValueError, RecursionError):
        return _NotJson("not JSON (a number or a nesting beyond all bounds)")


def _from_objects(line: list[int], rows: list[dict[str, Any]], bad: list[tuple[int, str]], wanted: Wanted) -> RawRows:
    found: dict[str, None] = {}
    for row in rows:
        found.update(dict.fromkeys(map(str, row)))
    columns: dict[str, Column] = {name: [row.get(name) for row in rows] for name in wanted(tuple(found))}
    return RawRows(np.array(line, np.int64), columns, tuple(found), bad)


def _csv_rows(name: str, file: IO[str], wanted: Wanted) -> Iterator[RawRows]:
    """The delimiter is the one that divides the header most; lines before it are blank, or a spreadsheet's `sep=;`."""
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # the default of 131 072 characters is less than a long answer
    number, first = 1, file.readline()
    while first and (not first.strip() or first.startswith("sep=")):
        number, first = number + 1, file.readline()
    if not first:
        raise ChoiceError(f"{name} has no header row; expected the column names in its first row")
    if "\0" in first:
        raise ChoiceError(f"{name} is UTF-16 text; save it as UTF-8")
    reader = csv.reader(chain([first], file), strict=True, delimiter=max(_DELIMITERS, key=first.count))
    line, rows, bad = [], [], []
    try:
        header = [field.strip() for field in next(reader)]
    except (StopIteration, csv.Error):
        raise ChoiceError(f"{name} has no header row; expected the column names in its first row") from None
    if len(header) < 2 and re.search(r"\w[^\w\s-]\w", first):  # names divided by a mark that is none of ours
        raise ChoiceError(f"{name} has one column, {ascii(header[:1])[1:-1][:60]}; divide columns by , ; | or tab")
    read = set(wanted(tuple(header)))
    _check_distinct(name, [column for column in header if column in read])
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
            yield _from_fields(header, line, rows, bad, wanted)
            line, rows, bad = [], [], []
    yield _from_fields(header, line, rows, bad, wanted)


def _from_fields(
    header: list[str], line: list[int], rows: list[list[str]], bad: list[tuple[int, str]], wanted: Wanted
) -> RawRows:
    """CSV fields as texts, None where empty; `cells` reads what a column's texts spell."""
    place = {name: at for at, name in enumerate(header)}
    columns: dict[str, Column] = {name: [row[place[name]] or None for row in rows] for name in wanted(tuple(header))}
    return RawRows(np.array(line, np.int64), columns, tuple(header), bad, spelled=True)


def _parquet_rows(path: Path, wanted: Wanted) -> Iterator[RawRows]:
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            found = tuple(file.schema_arrow.names)
            _check_distinct(str(path), found)
            columns = list(wanted(found))
            yield from _batches(found, file.iter_batches(_CHUNK, columns=columns), columns)
    except ChoiceError:
        raise
    except (pa.ArrowException, OSError, ValueError):
        raise ChoiceError(f"{path} is no readable Parquet file (damaged, truncated or of another format)") from None


def _dataset_rows(name: str, data: Any, wanted: Wanted) -> Iterator[RawRows]:
    """Rows of a `datasets` Dataset, or of all splits of a DatasetDict with the split's name as `split`."""
    parts = data if isinstance(data, dict) else {None: data}
    start = 0
    for split, part in parts.items():
        found = tuple(part.column_names)
        columns = list(wanted(found))
        if columns:
            batches = part.select_columns(columns).with_format("arrow").iter(_CHUNK)
        else:  # nothing to read, but the column names are wanted for the message
            batches = [pa.table({"": pa.nulls(len(part))})]
        for rows in _batches(found, batches, columns, start):
            if split is not None and "split" not in rows.columns:
                rows.columns["split"] = [split] * len(rows.line)
            start += len(rows.line)
            yield rows


def _frame_rows(frame: Any, wanted: Wanted) -> Iterator[RawRows]:
    """Rows of an Arrow table, or of a frame that Arrow can read; else of its records, as Python values."""
    try:
        table = pa.table(frame) if hasattr(frame, "__arrow_c_stream__") else pa.Table.from_pandas(frame)
    except (pa.ArrowException, TypeError, ValueError):  # a column that mixes types, such as texts with messages
        if not hasattr(frame, "columns"):
            raise ChoiceError(
                f"a {type(frame).__name__} is one column; expected a frame of one row per choice"
            ) from None
        _check_distinct("table", map(str, frame.columns))
        records = frame.astype(object).where(frame.notna(), None).to_dict("records")
        yield from _object_rows(enumerate(records, start=1), wanted)
        return
    found = tuple(table.column_names)
    _check_distinct("table", found)
    columns = list(wanted(found))
    yield from _batches(found, table.to_batches(_CHUNK), columns)


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
