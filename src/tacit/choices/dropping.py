"""Rows that cannot be used: all named and one error, or left out and counted."""

import logging
from collections.abc import Sequence

from tacit.errors import ChoiceError

__all__ = ["describe_bad_rows", "stop_or_skip"]

logger = logging.getLogger(__name__)

_SHOWN = 10


def describe_bad_rows(bad: Sequence[tuple[int, str]]) -> str:
    """The first ten bad rows with their causes, on one line."""
    shown = "; ".join(f"row {line}: {cause}" for line, cause in bad[:_SHOWN])
    return shown + (f"; and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else "")


def stop_or_skip(source: str, bad: Sequence[tuple[int, str]], total: int, *, skip_bad_rows: bool) -> None:
    """Raise one error for bad rows, or log how many are left out.

    Args:
        source: where the rows are from.
        bad: (row number, cause).
        total: how many rows there are.

    Raises:
        ChoiceError: there are no rows, none is good, or some are bad and are not to be skipped.
    """
    if not total:
        raise ChoiceError(f"{source} holds no rows; expected at least one")
    if not bad:
        return
    causes = describe_bad_rows(sorted(bad))
    if len(bad) == total:
        raise ChoiceError(f"{source}: none of {total} rows can be used: {causes}; correct them")
    if not skip_bad_rows:
        count = f"{len(bad)} of {total} rows {'is' if len(bad) == 1 else 'are'} bad"
        raise ChoiceError(f"{source}: {count}: {causes}; correct them, or drop them with skip_bad_rows=True")
    logger.warning("%s: dropped %d of %d rows: %s", source, len(bad), total, causes)
