"""Times of choices as seconds since the epoch, from the forms in which logs have them.

ISO 8601 texts (without a zone: UTC), dates, Python and Arrow timestamps, and numbers since the epoch in seconds,
milli-, micro- or nanoseconds: the unit that puts the column's median before the year 5138.
"""

import datetime as dt
import math
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tacit.choices.sources import Column

__all__ = ["Unit", "epoch_unit", "read_times"]

Unit = tuple[str, float]
"""(name, seconds)."""

_UNITS: tuple[tuple[float, Unit], ...] = (
    (1e11, ("seconds", 1.0)),
    (1e14, ("milliseconds", 1e-3)),
    (1e17, ("microseconds", 1e-6)),
    (math.inf, ("nanoseconds", 1e-9)),
)


def read_times(values: Column) -> tuple[NDArray[np.float64], NDArray[np.bool_], list[int]]:
    """(seconds or bare numbers, which of them are bare numbers, cells that are no time); NaN where missing.

    Shapes: Float64[rows], Bool[rows].
    """
    if not isinstance(values, list) and (pa.types.is_timestamp(values.type) or pa.types.is_date(values.type)):
        stamps: Any = values.cast(pa.timestamp("us")) if pa.types.is_date(values.type) else values
        unit = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[stamps.type.unit]
        whole = stamps.cast(pa.int64()).to_numpy(zero_copy_only=False).astype(np.float64)
        whole[np.asarray(values.is_null())] = np.nan
        return whole / unit, np.zeros(len(values), dtype=bool), []
    cells = values if isinstance(values, list) else values.to_pylist()
    seconds, bare, bad = np.full(len(cells), np.nan), np.zeros(len(cells), dtype=bool), []
    for row, cell in enumerate(cells):
        found = _read(cell)
        if found is None:
            if not _is_missing(cell):
                bad.append(row)
            continue
        seconds[row], bare[row] = found
    return seconds, bare, bad


def epoch_unit(numbers: NDArray[np.float64]) -> Unit:
    """The unit of bare numbers since the epoch, Float64[numbers], by their median."""
    typical = float(np.median(np.abs(numbers)))
    return next(unit for limit, unit in _UNITS if typical < limit)


def _is_missing(cell: Any) -> bool:
    if isinstance(cell, str):
        return not cell.strip()
    return cell is None or type(cell).__name__ == "NaTType" or (isinstance(cell, float) and math.isnan(cell))


def _read(cell: Any) -> tuple[float, bool] | None:
    if isinstance(cell, bool) or _is_missing(cell):
        return None
    if isinstance(cell, int | float):
        return (float(cell), True) if -1e300 < cell < 1e300 else None
    if isinstance(cell, str):
        try:
            return (number, True) if math.isfinite(number := float(cell)) else None
        except ValueError:
            pass
        try:
            cell = dt.datetime.fromisoformat(cell.strip().removesuffix(" UTC"))
        except ValueError:
            return None
    if isinstance(cell, dt.datetime):
        aware = cell if cell.tzinfo else cell.replace(tzinfo=dt.UTC)
        return aware.timestamp(), False
    if isinstance(cell, dt.date):
        return dt.datetime(cell.year, cell.month, cell.day, tzinfo=dt.UTC).timestamp(), False
    return None
