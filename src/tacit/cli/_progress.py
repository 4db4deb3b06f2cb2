"""A library's progress as a bar on stderr, or as a line now and then where stderr is not a terminal."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from tacit.cli._logging import stderr_console

__all__ = ["Report", "progress"]

_SECONDS_BETWEEN_LINES = 10.0
_FIGURES = ("loss", "nll", "accuracy")

Draw = Callable[[str, int, int | None, str], None]


class Report:
    """What `progress` yields: a callback for every kind of event that the library emits."""

    def __init__(self, title: str, draw: Draw) -> None:
        self._title = title
        self._draw = draw
        self._figures: dict[str, float] = {}

    def __call__(self, done: int, total: int | None = None) -> None:
        """`done` of `total` pieces (None = unknown): `progress=report` of `ItemStore`."""
        self._draw(self._title, done, total, "")

    def event(self, event: Mapping[str, Any]) -> None:
        """One event of training: `on_event=report.event`. The last validation's figures stay beside the bar."""
        if "step" not in event:  # a finding, not a step of the way; the log tells it
            return
        if event["event"] == "start":
            self._figures = {}
        self._figures |= {name: event[name] for name in _FIGURES if name in event}
        figures = "  ".join(f"{name} {value:.4g}" for name, value in self._figures.items())
        self._draw(f"{self._title} {event['name']}", event["step"], event["steps"], figures)


@contextmanager
def progress(title: str) -> Iterator[Report]:
    """Show the progress of one piece of work called `title`, or of several one after another, during the block.

    Example:
        with progress("embedding") as report:
            store.add(items, embedder, progress=report)
    """
    if not stderr_console().is_terminal:
        yield Report(title, _line_now_and_then())
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}"), TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=stderr_console(), transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def draw(name: str, done: int, total: int | None, figures: str) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, figures="")
            bar.update(tasks[name], completed=done, total=total, figures=figures)

        yield Report(title, draw)


def _line_now_and_then() -> Draw:
    due = time.monotonic() + _SECONDS_BETWEEN_LINES

    def draw(name: str, done: int, total: int | None, figures: str) -> None:
        nonlocal due
        if time.monotonic() >= due:
            due = time.monotonic() + _SECONDS_BETWEEN_LINES
            of = "" if total is None else f"/{total}"
            stderr_console().print(f"{name}: {done}{of} {figures}".rstrip(), soft_wrap=True)

    return draw
