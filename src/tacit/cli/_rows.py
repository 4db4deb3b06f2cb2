"""Options of every verb that reads rows, and the one way in which verbs read them."""

import sys
import types
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from tacit.errors import ConfigError

if TYPE_CHECKING:
    from tacit.choices import ChoiceTable

__all__ = ["Format", "Map", "SkipBadRows", "columns_of", "read_items", "read_rows"]

SkipBadRows = Annotated[
    bool, typer.Option("--skip-bad-rows", help="Drop bad rows, counted and listed, instead of stopping.")
]
Map = Annotated[
    list[str] | None,
    typer.Option("--map", metavar="OURS=THEIRS", help="Which column stands for one of ours; may repeat."),
]
Format = Annotated[
    str | None, typer.Option("--format", metavar="NAME", help="The log's format, where it is not to be recognised.")
]


def read_rows(
    data: str,
    skip_bad_rows: bool = False,
    columns: Sequence[str] | None = None,
    format: str | None = None,  # noqa: A002
    *,
    user: str | None = None,
) -> "ChoiceTable":
    """The choices of a file, as the options say."""
    from tacit.choices import read_choices

    _spare_pandas()
    return read_choices(data, skip_bad_rows=skip_bad_rows, columns=columns_of(columns), format=format, user=user)


def read_items(data: str, skip_bad_rows: bool = False, columns: Sequence[str] | None = None) -> list[tuple[str, str]]:
    """The (prompt key, response) items of a file, as the options say."""
    from tacit.choices import read_items

    _spare_pandas()
    return read_items(data, skip_bad_rows=skip_bad_rows, columns=columns_of(columns))


def _spare_pandas() -> None:
    """Let pyarrow find no pandas, which it would otherwise import for the first list it reads: a third of a second."""
    if "pandas" not in sys.modules:
        sys.modules["pandas"] = types.ModuleType("pandas")  # without what pyarrow looks for, so it does without
        sys.modules["pandas"].__version__ = "0"  # type: ignore[attr-defined]
        try:
            import pyarrow as pa

            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                pa.array([0])  # it looks once and remembers
        finally:
            del sys.modules["pandas"]


def columns_of(given: Sequence[str] | None) -> dict[str, str] | None:
    """`--map OURS=THEIRS` as a mapping.

    Raises:
        ConfigError: no equals sign.
    """
    pairs = [each.partition("=") for each in given or ()]
    for ours, equals, theirs in pairs:
        if not (ours and equals and theirs):
            raise ConfigError(f"--map {ours}{equals}{theirs}: expected OURS=THEIRS, such as --map user_id='User ID'")
    return {ours.strip(): theirs for ours, _, theirs in pairs} or None
