"""The cells of a chunk, column by column, as arrays; a cell that cannot be what its column holds gets a cause.

A whole column is converted at Arrow's speed; only one that fails is looked at cell by cell.
"""

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from tacit.choices.sources import Column, RawRows
from tacit.choices.times import read_times

__all__ = ["TEXT", "Cells", "compute"]

compute: Any = pyarrow.compute
"""Arrow makes these functions at import, where type checkers cannot see them."""

TEXT = pa.large_string()
_VECTOR = pa.list_(pa.float32())
_CANNOT_CONVERT = (pa.ArrowException, TypeError, ValueError, OverflowError)
_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


class Cells:
    """The columns of one chunk and the first cause found against each of its rows.

    Attributes:
        columns: the cells by column name.
        causes: cause by row.
        ok: Bool[rows], False where there is a cause.
    """

    def __init__(self, raw: RawRows) -> None:
        self.columns = dict(raw.columns)
        self.causes: dict[int, str] = {}
        self.ok = np.ones(len(raw.line), dtype=bool)
        self._spelled = raw.spelled

    def refuse(self, row: int, cause: str) -> None:
        """Mark one row as bad; an earlier cause stays."""
        self.causes.setdefault(row, cause)
        self.ok[row] = False

    def refuse_where(self, mask: Any, cause: str) -> None:
        """Mark rows as bad where `mask` (Bool[rows], numpy or Arrow) holds."""
        for row in np.flatnonzero(np.asarray(mask)).tolist():
            self.refuse(row, cause)

    def is_text(self, name: str) -> bool:
        """Whether all cells of a column are texts or missing."""
        values = self.columns.get(name)
        if values is None:
            return True
        if isinstance(values, list):
            return all(cell is None or isinstance(cell, str) for cell in values)
        return _text_like(values.type)

    def texts(self, name: str, *, numbers: bool = False) -> pa.LargeStringArray:
        """A column as text, null where missing; whole numbers may stand for their digits."""
        values = self.columns.get(name, pa.nulls(len(self.ok), TEXT))
        try:
            texts = _as_text(values, numbers)
            texts.validate(full=True)  # Parquet does not promise that its text is UTF-8
        except _CANNOT_CONVERT:
            found = [_text_or_cause(cell, name, numbers) for cell in _python(values)]
            for row, (_, cause) in enumerate(found):
                if cause:
                    self.refuse(row, cause)
            texts = pa.array([text for text, _ in found], TEXT)
        blank = compute.equal(compute.binary_length(compute.utf8_trim_whitespace(texts)), 0)
        self.refuse_where(compute.fill_null(blank, False), f"{name} is blank")
        return texts

    def values(self, name: str) -> list[Any]:
        """A column as Python values, None where missing; in CSV, lists and objects are read from their JSON."""
        cells = _python(self.columns.get(name, [None] * len(self.ok)))
        if self._spelled:
            return [_parsed(cell) for cell in cells]
        cells = [cell.tolist() if isinstance(cell, np.ndarray) else cell for cell in cells]
        return [None if isinstance(cell, float) and math.isnan(cell) else cell for cell in cells]

    def booleans(self, name: str) -> NDArray[np.bool_]:
        """Bool[rows], False where missing."""
        found = np.zeros(len(self.ok), dtype=bool)
        for row, cell in enumerate(_python(self.columns.get(name, []))):
            value = _BOOLEANS.get(cell.strip().lower()) if self._spelled and isinstance(cell, str) else cell
            if isinstance(value, bool):
                found[row] = value
            elif cell is not None:
                self.refuse(row, f"{name} is {_show(cell)}, expected true or false")
        return found

    def numbers(self, name: str, default: float) -> NDArray[np.float64]:
        """Float64[rows], `default` where missing; finite, and above 0 even as float32."""
        found = np.full(len(self.ok), default)
        for row, cell in enumerate(_python(self.columns.get(name, []))):
            if cell is None:
                continue
            number = _number(cell) if self._spelled and isinstance(cell, str) else cell
            # The bounds are float32's, normal numbers only; a NaN fails any comparison.
            if isinstance(number, int | float) and not isinstance(number, bool) and 1e-37 < number < 1e38:
                found[row] = number
            else:
                self.refuse(row, f"{name} is {_show(cell)}, expected a finite number > 0")
        return found

    def times(self, name: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Seconds or bare numbers since the epoch, Float64[rows] with NaN where missing, and which are bare numbers."""
        if name not in self.columns:
            return np.full(len(self.ok), np.nan), np.zeros(len(self.ok), dtype=bool)
        values = self.columns[name]
        seconds, bare, bad = read_times(values)
        for row in bad:
            cell = _show(_python(values)[row])
            self.refuse(row, f"{name} is {cell}, expected a finite number, an ISO 8601 time or seconds since 1970")
        return seconds, bare

    def vectors(self, name: str) -> pa.ListArray:
        """A column as lists of Float32, null where missing; their lengths and values are not looked at."""
        values = self.values(name) if self._spelled else self.columns.get(name, pa.nulls(len(self.ok), _VECTOR))
        try:
            return pa.array(values, _VECTOR) if isinstance(values, list) else values.cast(_VECTOR)
        except _CANNOT_CONVERT:
            lists = []
            for row, cell in enumerate(_python(values)):
                good = isinstance(cell, list) and all(isinstance(x, int | float) and abs(x) < 1e300 for x in cell)
                if cell is not None and not good:
                    self.refuse(row, f"{name} is {_show(cell)}, expected a list of finite numbers")
                lists.append(cell if good else None)
            return pa.array(lists, _VECTOR)


def _python(values: Column) -> list[Any]:
    """The cells as Python values; bytes that are no UTF-8 text become lone surrogates."""
    if isinstance(values, list):
        return values
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        raw = values.cast(pa.large_binary()).to_pylist()
        return [None if cell is None else cell.decode("utf-8", "surrogateescape") for cell in raw]
    return values.to_pylist()


def _parsed(cell: Any) -> Any:
    """What a CSV field spells: a JSON list or object where it is one, else its text."""
    if isinstance(cell, str) and cell.lstrip()[:1] in ("[", "{"):
        return _read_or(cell, json.loads, (ValueError, RecursionError))
    return cell


def _number(cell: str) -> Any:
    return _read_or(cell, float, (ValueError,))


def _read_or(cell: str, parse: Callable[[str], Any], failures: tuple[type[Exception], ...]) -> Any:
    try:
        return parse(cell)
    except failures:
        return cell


def _text_like(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    views = getattr(pa.types, "is_string_view", lambda _: False)
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind) or views(kind)


def _as_text(values: Column, numbers: bool) -> pa.LargeStringArray:
    """A column all of whose cells are text (or null, or integers where allowed); anything else raises."""
    if isinstance(values, list):
        try:
            return pa.array(values, TEXT)
        except pa.ArrowTypeError:
            array = pa.array(values)
    else:
        array = values
    kind = array.type.value_type if pa.types.is_dictionary(array.type) else array.type
    if not _text_like(kind) and not (numbers and pa.types.is_integer(kind)):
        raise TypeError(kind)
    return array.cast(TEXT)


def _text_or_cause(cell: Any, name: str, numbers: bool) -> tuple[str | None, str | None]:
    if cell is None:
        return None, None
    if isinstance(cell, str):
        try:
            cell.encode()
        except UnicodeEncodeError:
            return None, f"{name} is not UTF-8 text"
        return cell, None
    if isinstance(cell, float) and math.isnan(cell):
        return None, f"{name} is NaN"
    whole = isinstance(cell, int | np.integer) or (isinstance(cell, float) and cell.is_integer())
    if numbers and whole and not isinstance(cell, bool):
        return str(int(cell)), None  # 7.0 is what pandas makes of 7 in a column with gaps
    return None, f"{name} is {_show(cell)}, expected {'text or a whole number' if numbers else 'text'}"


def _show(cell: object) -> str:
    text = ascii(cell)
    return text if len(text) <= 40 else text[:37] + "..."
