"""Where a training run lives until it is complete: `<out>.partial`, from where a killed run goes on."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tacit.errors import ConfigError, OutputError, TacitError
from tacit.files import first_process, only_writer, restore_folder

__all__ = ["unfinished_run"]


@contextmanager
def unfinished_run(out: Path, *, own: str, overwrite: bool, is_part: Callable[[str], bool]) -> Iterator[Path]:
    """Yield `<out>.partial`, kept for this run alone; it goes when the block ends, and stays where it is interrupted.

    A `TacitError` in a run that began here removes it too: what stopped it would stop it again.

    Args:
        out: where the finished folder goes; the block writes it.
        own: a file by which a finished folder is known.
        overwrite: whether one may be replaced.
        is_part: whether a name in `<out>.partial` is of such a run.

    Raises:
        OutputError: `out` is finished, or another run is writing it.
        ConfigError: `<out>.partial` is taken by something else, or `out` has no name of its own.
    """
    if out.name in ("", ".."):
        raise ConfigError(f"{out} has no name of its own; name a new folder")
    partial = out.with_name(out.name + ".partial")
    with only_writer(out):
        restore_folder(out)
        if (out / own).exists() and not overwrite:
            raise OutputError(f"{out} holds a finished run; overwrite=True replaces it")
        if partial.exists() and not (partial.is_dir() and all(is_part(path.name) for path in partial.iterdir())):
            raise ConfigError(f"{partial}, where the unfinished run would live, holds something else; name another out")
        begun = partial.exists()
        try:
            yield partial
        except TacitError:
            if not begun:
                shutil.rmtree(partial, ignore_errors=True)
            raise
        if first_process():
            shutil.rmtree(partial, ignore_errors=True)
