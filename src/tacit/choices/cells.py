"""The cells of a chunk, column by column, as arrays; a cell that cannot be what its column holds gets a cause.

A whole column is converted at Arrow's speed; only one that fails is looked at cell by cell.
"""

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from tacit.choices.builder import MAX_SLOTS
from tacit.choices.conversation import is_conversational, render_conversation
from tacit.choices.sources import Column

__all__ = ["TEXT", "Cells", "compute"]

compute: Any = pyarrow.compute
"""Arrow makes these functions at import, where type checkers cannot see them."""

TEXT = pa.large_string()
_VECTOR = pa.list_(pa.float32())
_CANNOT_CONVERT = (pa.ArrowException, TypeError, ValueError, OverflowError)


class Cells:
    """The columns of one chunk and the first cause found against each of its rows.

    Attributes:
        columns: the cells by column name.
        causes: cause by row.
        ok: Bool[rows], False where there is a cause.
    """

    def __init__(self, columns: dict[str, Column], rows: int) -> None:
        self.columns = dict(columns)
        self.causes: dict[int, str] = {}
        self.ok = np.ones(rows, dtype=bool)

    def refuse(self, row: int, cause: str) -> None:
        """Mark one row as bad; an earlier cause stays."""
        self.causes.setdefault(row, cause)
        self.ok[row] = False

    def refuse_where(self, mask: Any, cause: str) -> None:
        """Mark rows as bad where `mask` (Bool[rows], numpy or Arrow) holds."""
        for row in np.flatnonzero(np.asarray(mask)).tolist():
            self.refuse(row, cause)

    def texts(self, name: str, *, integers: bool = False) -> pa.LargeStringArray:
        """A column as text, null where missing; integers may stand for their digits."""
        values = self.columns.get(name, pa.nulls(len(self.ok), TEXT))
        try:
            texts = _as_text(values, integers)
            texts.validate(full=True)  # Parquet does not promise that its text is UTF-8
        except _CANNOT_CONVERT:
            found = [_text_or_cause(cell, name, integers) for cell in _python(values)]
            for row, (_, cause) in enumerate(found):
                if cause:
                    self.refuse(row, cause)
            texts = pa.array([text for text, _ in found], TEXT)
        blank = compute.equal(compute.binary_length(compute.utf8_trim_whitespace(texts)), 0)
        self.refuse_where(compute.fill_null(blank, False), f"{name} is blank")
        return texts

    def rankings(self, name: str) -> list[list[str] | None]:
        """Each row's list of texts, best first, or None."""
        values = self.columns.get(name)
        lists: list[Any] = [None] * len(self.ok) if values is None else _python(values)
        for row, cell in enumerate(lists):
            if cell is not None and (cause := _ranking_fault(cell, name)):
                self.refuse(row, cause)
        return lists

    def booleans(self, name: str) -> NDArray[np.bool_]:
        """Bool[rows], False where missing."""
        found = np.zeros(len(self.ok), dtype=bool)
        for row, cell in enumerate(_python(self.columns.get(name, []))):
            if isinstance(cell, bool):
                found[row] = cell
            elif cell is not None:
                self.refuse(row, f"{name} is {_show(cell)}, expected true or false")
        return found

    def numbers(self, name: str, default: float, *, positive: bool = False) -> NDArray[np.float64]:
        """Float64[rows], `default` where missing; finite, and above 0 even as float32 where `positive`."""
        expected = "a finite number > 0" if positive else "a finite number"
        found = np.full(len(self.ok), default)
        for row, cell in enumerate(_python(self.columns.get(name, []))):
            if cell is None:
                continue
            # The bounds are float32's, normal numbers only; a NaN fails any comparison.
            if isinstance(cell, int | float) and not isinstance(cell, bool) and (
                1e-37 < cell < 1e38 if positive else -1e300 < cell < 1e300
            ):  # fmt: skip
                found[row] = cell
            else:
                self.refuse(row, f"{name} is {_show(cell)}, expected {expected}")
        return found

    def vectors(self, name: str) -> pa.ListArray:
        """A column as lists of Float32, null where missing; their lengths and values are not looked at."""
        values = self.columns.get(name, pa.nulls(len(self.ok), _VECTOR))
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

    def has_lists(self, name: str) -> bool:
        """Whether a column holds lists (of messages) instead of text."""
        values = self.columns.get(name, [])
        return is_conversational(*values) if isinstance(values, list) else pa.types.is_nested(values.type)

    def render_conversations(self) -> None:
        """Replace lists of messages in prompt, chosen and rejected by their text, where the chunk has any."""
        names = ("prompt", "chosen", "rejected")
        if not any(self.has_lists(name) for name in names):
            return
        parts = [_python(self.columns[name]) if name in self.columns else [None] * len(self.ok) for name in names]
        rendered = []
        for row, cells in enumerate(zip(*parts, strict=True)):
            try:
                rendered.append(render_conversation(*cells))
            except ValueError as error:
                self.refuse(row, str(error))
                rendered.append((None, None, None))
        self.columns.update(zip(names, map(list, zip(*rendered, strict=True)), strict=True))


def _python(values: Column) -> list[Any]:
    """The cells as Python values; bytes that are no UTF-8 text become lone surrogates."""
    if isinstance(values, list):
        return values
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        raw = values.cast(pa.large_binary()).to_pylist()
        return [None if cell is None else cell.decode("utf-8", "surrogateescape") for cell in raw]
    return values.to_pylist()


def _as_text(values: Column, integers: bool) -> pa.LargeStringArray:
    """A column all of whose cells are text (or null, or integers where allowed); anything else raises."""
    if isinstance(values, list):
        try:
            return pa.array(values, TEXT)
        except pa.ArrowTypeError:
            array = pa.array(values)
    else:
        array = values
    kind = array.type.value_type if pa.types.is_dictionary(array.type) else array.type
    textual = (pa.types.is_string, pa.types.is_large_string, pa.types.is_null)
    if not any(fits(kind) for fits in textual) and not (integers and pa.types.is_integer(kind)):
        raise TypeError(kind)
    return array.cast(TEXT)


def _text_or_cause(cell: Any, name: str, integers: bool) -> tuple[str | None, str | None]:
    if cell is None:
        return None, None
    if isinstance(cell, str):
        try:
            cell.encode()
        except UnicodeEncodeError:
            return None, f"{name} is not UTF-8 text"
        return cell, None
    if integers and isinstance(cell, int) and not isinstance(cell, bool):
        return str(cell), None
    if isinstance(cell, float) and math.isnan(cell):
        return None, f"{name} is NaN"
    return None, f"{name} is {_show(cell)}, expected {'text or an integer' if integers else 'text'}"


def _ranking_fault(cell: Any, name: str) -> str | None:
    if not isinstance(cell, list):
        return f"{name} is {_show(cell)}, expected a list of texts, best first"
    if not 2 <= len(cell) <= MAX_SLOTS:
        return f"{name} has {len(cell)} texts, expected 2 to {MAX_SLOTS}"
    for text in cell:
        cause = _text_or_cause(text, f"a text of {name}", False)[1]
        if cause or text is None or not text.strip():
            return cause or f"a text of {name} is blank or missing"
    return f"{name} has a text twice" if len(set(cell)) < len(cell) else None


def _show(cell: object) -> str:
    text = ascii(cell)
    return text if len(text) <= 40 else text[:37] + "..."
