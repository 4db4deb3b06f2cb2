"""Writing: a reader sees the old file or the new one, never half of either, and a place has one writer at a time."""

import json
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from tacit.errors import OutputError

__all__ = [
    "LEFT",
    "atomic_folder", "fill_folder", "first_process", "locked", "only_writer", "restore_folder", "write_bytes",
    "write_json", "write_text",
]  # fmt: skip

LEFT = (".lock", ".new.")
"""How the names begin of what a killed run may leave inside a folder."""


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `path` through a temporary file beside it and a rename; its mode is what the umask leaves."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write UTF-8 text atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write indented JSON atomically; NaN and infinity are refused because JSON has none."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield an empty temporary folder that replaces `path` if the block succeeds and vanishes if it fails.

    An existing `path` is moved aside first, so a crash between the two renames leaves the old one under
    `.<name>.old`; `restore_folder` puts it back.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    restore_folder(path)
    old = path.parent / f".{path.name}.old"
    with _new_folder(_beside(path)) as temporary:
        yield temporary
        _even_modes(temporary)
        shutil.rmtree(old, ignore_errors=True)
        if path.exists():
            path.replace(old)
        temporary.replace(path)
        shutil.rmtree(old, ignore_errors=True)


@contextmanager
def fill_folder(path: str | os.PathLike[str], *, last: str) -> Iterator[Path]:
    """Yield an empty temporary folder whose files move into `path` if the block succeeds, `last` after all others.

    Whatever else `path` holds stays there; a folder with the file `last` is complete.
    """
    path = Path(path)
    if not path.exists():
        with atomic_folder(path) as temporary:
            yield temporary
        return
    with _new_folder(_beside(path / "new")) as temporary:
        yield temporary
        _even_modes(temporary)
        for file in sorted(temporary.iterdir(), key=lambda file: file.name == last):
            file.replace(path / file.name)
        temporary.rmdir()


def restore_folder(path: str | os.PathLike[str]) -> None:
    """Undo an `atomic_folder` that was killed between its two renames: the old folder gets its name back."""
    path = Path(path)
    old = path.parent / f".{path.name}.old"
    if old.exists() and not path.exists():
        old.replace(path)


def first_process() -> bool:
    """Whether this is the only process of a run, or the one of a launcher's that writes for all."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def only_writer(path: str | os.PathLike[str]) -> Iterator[None]:
    """Keep every other process and thread from writing the file or folder `path` during the block.

    The lock is the file `.<name>.lock` beside it, or `.lock` inside a folder whose parent cannot be written. It ends
    with the process at the latest; the file goes with the block. Inside a block of the same thread this does nothing.

    Raises:
        OutputError: somebody else is writing there.
    """
    if not first_process():
        yield
        return
    path = Path(path).resolve()
    missing = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    inside = path.is_dir() and (not path.name or not os.access(path.parent, os.W_OK | os.X_OK))
    with ExitStack() as stack:
        stack.callback(_remove_empty, missing)
        try:
            stack.enter_context(locked(path / ".lock" if inside else path.with_name(f".{path.name}.lock"), again=True))
        except BlockingIOError:
            raise OutputError(f"{path} is being written by another run; wait for it, or name another place") from None
        yield


@contextmanager
def locked(file: str | os.PathLike[str], *, wait: bool = False, again: bool = False) -> Iterator[None]:
    """Hold the lock file `file` during the block, and remove it afterwards.

    Args:
        wait: until it is free.
        again: whether a thread that holds it already may go on.

    Raises:
        BlockingIOError: somebody else holds it, and `wait` is false.
    """
    lock = FileLock(file, is_singleton=again)
    try:
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        raise BlockingIOError(f"{file} is locked") from None
    try:
        yield
    finally:
        if lock.lock_counter == 1:  # removed while held: whoever has it open finds it gone, and makes a new one
            Path(file).unlink(missing_ok=True)
        lock.release()


def _remove_empty(folders: Sequence[Path]) -> None:
    for folder in folders:
        with suppress(OSError):  # something is in it by now
            folder.rmdir()


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}")


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """A new empty folder, removed if the block fails."""
    folder.mkdir()
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _even_modes(folder: Path) -> None:
    """Give every file the mode that the umask leaves a new one, however the library that wrote it chose."""
    mode = folder.stat().st_mode & 0o666
    for file in folder.rglob("*"):
        if file.is_file():
            file.chmod(mode)
