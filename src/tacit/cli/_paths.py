"""Places to write to: found unfit before the work starts, never overwritten by accident."""

import os
from pathlib import Path

from tacit.errors import ConfigError

__all__ = ["prepare_out"]


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
    nearest = path.absolute()
    while not nearest.exists():
        nearest = nearest.parent
    if not nearest.is_dir():
        raise ConfigError(f"--out {path} lies under {nearest}, which is a file; name another folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise ConfigError(f"--out {path} cannot be written: no permission in {nearest}")
    return path
