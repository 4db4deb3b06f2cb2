"""tacit's log on stderr, sharing one console with the progress bar so that neither tears the other."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from rich.console import Console
from rich.logging import RichHandler

__all__ = ["logging_to_stderr", "stderr_console"]


@cache
def stderr_console() -> Console:
    """The one console on stderr."""
    return Console(stderr=True, markup=False, highlight=False, emoji=False)


@contextmanager
def logging_to_stderr(verbose: int) -> Iterator[None]:
    """Show tacit's warnings while the block runs; with `verbose` 1 its notes too, with 2 or more everything."""
    if stderr_console().is_terminal:
        handler: logging.Handler = RichHandler(console=stderr_console(), show_time=False, show_path=False)
    else:  # rich would wrap lines at 80 columns
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger = logging.getLogger("tacit")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel({0: logging.WARNING, 1: logging.INFO}.get(verbose, logging.DEBUG))
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
