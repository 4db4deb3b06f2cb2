"""What shows on stderr: tacit's log, and progress as a bar, or as a line now and then where there is no terminal.

    with progress("reading") as report:
        table = read_choices(data)
        report.phase("embedding")
        store.add(items, embedder, progress=report)
        report.phase("training")
        train_reward(table, vectors, on_event=report.event)

Something shows all the while, also where the library has nothing to say for minutes.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

__all__ = ["Report", "logging_to_stderr", "progress"]

_SECONDS_BETWEEN_LINES = 10.0
_FIGURES = ("loss", "nll", "accuracy")


@cache
def _console() -> Console:
    """The one console on stderr, so that log and bar do not tear each other."""
    return Console(stderr=True, markup=False, highlight=False, emoji=False)


@contextmanager
def logging_to_stderr(verbose: int) -> Iterator[None]:
    """Show tacit's warnings while the block runs; with `verbose` 1 its notes too, with 2 or more everything."""
    if _console().is_terminal:
        handler: logging.Handler = RichHandler(console=_console(), show_time=False, show_path=False)
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


@dataclass
class _Stretch:
    """A piece of work under one name: `done` of `total` pieces (None = unknown), `before` of them when it began."""

    name: str
    before: int = 0
    done: int = 0
    total: int | None = None
    figures: dict[str, float] = field(default_factory=dict)
    began: float = field(default_factory=lambda: time.monotonic())

    def figures_shown(self) -> str:
        return "  ".join(f"{name} {value:.4g}" for name, value in self.figures.items())

    def line(self) -> str:
        """`embedding: 300/2000, about 1:10 left`."""
        spent, made = time.monotonic() - self.began, self.done - self.before
        if self.total is None or made <= 0 or self.done >= self.total:
            when = f"{_clock(spent)} so far"
        else:
            when = f"about {_clock(spent * (self.total - self.done) / made)} left"
        count = "" if self.total is None else f"{self.done}/{self.total}, "
        return f"{self.name}: {count}{when}  {self.figures_shown()}".rstrip()


class Report:
    """What `progress` yields: a callback for every kind of event that the library emits."""

    def __init__(self, title: str, draw: Callable[[_Stretch], None]) -> None:
        self._draw = draw
        self.phase(title)

    def phase(self, title: str) -> None:
        """What is done from here on."""
        self._title = title
        self._begin(_Stretch(title))

    def __call__(self, done: int, total: int | None = None) -> None:
        """`done` of `total` pieces (None = unknown): `progress=report` of `ItemStore`."""
        self._go_on(self._title, done, total)

    def event(self, event: Mapping[str, Any]) -> None:
        """One event: `on_event=report.event`. The last validation's figures stay beside the bar."""
        if "step" not in event:  # a finding, not a step of the way; the log tells it
            return
        name = event["name"] if event["event"] == "progress" else f"{self._title} {event['name']}"
        if event["event"] == "start":
            self._begin(_Stretch(name, before=event["step"]))
        figures = {figure: event[figure] for figure in _FIGURES if figure in event}
        self._go_on(name, event["step"], event["steps"], figures)

    def _begin(self, stretch: _Stretch) -> None:
        self._now = stretch
        self._draw(stretch)

    def _go_on(self, name: str, done: int, total: int | None, figures: Mapping[str, float] | None = None) -> None:
        if name != self._now.name:
            self._begin(_Stretch(name, before=done))
        self._now.done, self._now.total = done, total
        self._now.figures |= figures or {}
        self._draw(self._now)


@contextmanager
def progress(title: str) -> Iterator[Report]:
    """Show the progress of work that begins with `title` during the block."""
    if _console().is_terminal:
        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"), TimeElapsedColumn(), TimeRemainingColumn(),
        )  # fmt: skip
        with Progress(*columns, console=_console(), transient=True) as bar:
            yield Report(title, _Bar(bar))
        return
    lines = _Lines()
    try:
        yield Report(title, lines)
    finally:
        lines.end()


class _Bar:
    """Draws the present stretch as the one bar there is."""

    def __init__(self, bar: Progress) -> None:
        self.bar, self.drawn, self.task = bar, None, TaskID(-1)

    def __call__(self, now: _Stretch) -> None:
        if now is not self.drawn:
            if self.drawn is not None:
                self.bar.remove_task(self.task)
            self.drawn: _Stretch | None = now
            self.task = self.bar.add_task(now.name, total=now.total, completed=now.before, figures="")
        self.bar.update(self.task, completed=now.done, total=now.total, figures=now.figures_shown())


class _Lines:
    """Prints a line of the present stretch every ten seconds, from a thread of its own."""

    def __init__(self) -> None:
        self.now: _Stretch | None = None
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._print, daemon=True)
        self.thread.start()

    def __call__(self, now: _Stretch) -> None:
        self.now = now

    def end(self) -> None:
        self.ended.set()
        self.thread.join()

    def _print(self) -> None:
        while not self.ended.wait(min(_SECONDS_BETWEEN_LINES, threading.TIMEOUT_MAX)):
            if self.now is not None:
                _console().print(self.now.line(), soft_wrap=True)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
