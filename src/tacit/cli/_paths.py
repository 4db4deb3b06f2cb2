"""Places to write to: found unfit before the work starts, never overwritten by accident, written by one run at a time.

    def evaluate(..., out: Out, overwrite: Overwrite = False) -> Result:
        out = prepare_out(out, own="results.json", overwrite=overwrite)

`prepare_out` and `prepare_file` keep other runs away from the place until the verb ends.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated

import typer

from tacit.errors import ConfigError, OutputError
from tacit.files import LEFT, only_writer

__all__ = ["Overwrite", "keeping_places", "prepare_file", "prepare_out"]

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what an earlier run left at --out.")]
"""`overwrite: Overwrite = False`, for `prepare_out` or `prepare_file`."""

_kept: ContextVar[ExitStack] = ContextVar("places that the running verb keeps for itself")


@contextmanager
def keeping_places() -> Iterator[None]:
    """Around a verb: the places it prepares stay its own until the block ends."""
    with ExitStack() as stack:
        token = _kept.set(stack)
        try:
            yield
        finally:
            _kept.reset(token)


def prepare_out(path: Path, *, own: str, overwrite: bool, whole: bool = False, extends: Sequence[str] = ()) -> Path:
    """Keep folder `path` for this verb, and return it; nothing is created.

    Args:
        path: absent, empty, or with what an interrupted run of this verb left; with `overwrite` also a finished run's.
        own: the file that the verb writes last, such as `results.json`, by which it knows a finished folder of its own.
        overwrite: whether a finished run may be replaced.
        whole: the folder is replaced as a whole, so that the one around it must be writable too.
        extends: caches that the verb goes on with; a folder with one of them is its own too.

    Raises:
        ConfigError: `path` is a file, a folder of something else, or cannot be written.
        OutputError: it holds a finished run, or another run is writing it.
    """
    if path.exists() and not path.is_dir():
        raise ConfigError(f"--out {path} is a file; name a folder")
    _check_writable(path.absolute().parent if whole else path, path)
    _keep(path)
    if (path / own).exists():
        if not overwrite:
            raise OutputError(f"--out {path} holds a finished run; give --overwrite to replace it, or another --out")
    elif _holds_something(path) and not any((path / name).exists() for name in extends):
        raise ConfigError(f"--out {path} is not empty and holds no {own} of an earlier run; name another folder")
    return path


def prepare_file(path: Path, *, own: str | None, overwrite: bool) -> Path:
    """Keep file `path` for this verb, and return it; nothing is created.

    Args:
        path: absent, or with `overwrite` one of the verb's own files.
        own: a key by which the verb knows its own JSON files, such as `encoder`; None where they are not JSON.
        overwrite: whether such a file may be replaced.

    Raises:
        ConfigError: `path` is a folder, a file of something else, or cannot be written.
        OutputError: it is there already, or another run is writing it.
    """
    if path.is_dir():
        raise ConfigError(f"--out {path} is a folder; name a file")
    _check_writable(path.absolute().parent, path)
    _keep(path)
    if path.exists():
        try:
            found = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError):
            found = None
        if own is not None and (not isinstance(found, dict) or own not in found):
            raise ConfigError(f"--out {path} exists and was not written by this command; name another file")
        if not overwrite:
            raise OutputError(f"--out {path} exists; give --overwrite to replace it, or name another file")
    return path


def _holds_something(path: Path) -> bool:
    return path.is_dir() and any(not file.name.startswith(LEFT) for file in path.iterdir())


def _keep(path: Path) -> None:
    stack = _kept.get(None)
    if stack is not None:
        stack.enter_context(only_writer(path))


def _check_writable(place: Path, path: Path) -> None:
    nearest = place.absolute()
    while not nearest.exists():
        nearest = nearest.parent
    if not nearest.is_dir():
        raise ConfigError(f"--out {path} lies under {nearest}, which is a file; name another folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise ConfigError(f"--out {path} cannot be written: no permission in {nearest}")
