"""Places to write to: found unfit before the work starts, never overwritten by accident."""

import json
import os
from pathlib import Path

from tacit.errors import ConfigError

__all__ = ["prepare_file", "prepare_out"]


def prepare_out(path: Path, *, own: str) -> Path:
    """Check that a verb may write folder `path`, and return it; nothing is created.

    Args:
        path: absent, an empty folder, or one of the verb's own (to overwrite or resume).
        own: name of a file by which the verb knows its own folder, such as `results.json`.

    Raises:
        ConfigError: `path` is a file, a folder of something else, or cannot be written.
    """
    if path.exists() and not path.is_dir():
        raise ConfigError(f"--out {path} is a file; name a folder")
    if path.is_dir() and not (path / own).exists() and any(path.iterdir()):
        raise ConfigError(f"--out {path} is not empty and holds no {own} of an earlier run; name another folder")
    _check_writable(path)
    return path


def prepare_file(path: Path, *, own: str) -> Path:
    """Check that a verb may write file `path`, and return it; nothing is created.

    Args:
        path: absent, or one of the verb's own files (to overwrite).
        own: a key by which the verb knows its own JSON files, such as `encoder`.

    Raises:
        ConfigError: `path` is a folder, a file of something else, or cannot be written.
    """
    if path.is_dir():
        raise ConfigError(f"--out {path} is a folder; name a file")
    if path.exists():
        try:
            found = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError):
            found = None
        if not isinstance(found, dict) or own not in found:
            raise ConfigError(f"--out {path} exists and was not written by this command; name another file")
    _check_writable(path)
    return path


def _check_writable(path: Path) -> None:
    nearest = path.absolute().parent if path.is_file() else path.absolute()
    while not nearest.exists():
        nearest = nearest.parent
    if not nearest.is_dir():
        raise ConfigError(f"--out {path} lies under {nearest}, which is a file; name another folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise ConfigError(f"--out {path} cannot be written: no permission in {nearest}")
