"""What a training run says: events to a listener, measurements to `metrics.jsonl` and to experiment trackers."""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from tacit.errors import ConfigError
from tacit.events import Event, Listener

__all__ = ["RunLog", "Tracker"]

Tracker = Literal["tensorboard", "trackio", "wandb"]


class RunLog:
    """Hands the events of one run on, and keeps what is measured.

    Args:
        name: the run's, in every line of its own.
        folder: where `metrics.jsonl` and TensorBoard's files go; None keeps nothing.
        listener: receives every event.
    """

    def __init__(self, name: str, folder: Path | None, listener: Listener | None = None) -> None:
        self.name, self.folder, self.here = name, folder, True
        self.listeners = [listener] if listener else []
        self.trackers: list[Any] = []

    def begin(self, step: int, trackers: Sequence[Tracker] = (), *, here: bool = True) -> None:
        """Start or go on at `step`: what an earlier process noted beyond it is dropped.

        Args:
            step: steps done.
            trackers: where a team already looks, each with its own settings and logins.
            here: whether this is the process that speaks for all.

        Raises:
            ConfigError: a tracker that is not installed.
        """
        self.here = here
        if not here:
            return
        self.trackers = [self._tracker(tracker) for tracker in trackers]
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        kept = []
        for raw in self._file.read_text().splitlines() if self._file.exists() else ():
            with suppress(ValueError):  # the last line, cut by a kill
                line = json.loads(raw)
                kept += [raw] if line["name"] != self.name or line["step"] <= step else []
        self._file.write_text("".join(raw + "\n" for raw in kept))

    def __call__(self, event: Event) -> None:
        """One event, in its turn."""
        if not self.here:
            return
        kind, said = event["event"], {key: value for key, value in event.items() if key != "event"}
        if kind in ("log", "validation") and self.folder is not None:
            with self._file.open("a") as file:
                file.write(json.dumps(said) + "\n")
        for tracker in self.trackers:
            if kind == "validation":
                numbers = {key: value for key, value in said.items() if isinstance(value, float) and key != "seconds"}
                tracker.log({f"{event['name']}/{key}": value for key, value in numbers.items()}, step=event["step"])
            elif kind == "end":
                tracker.finish()
        for listener in self.listeners:
            listener(event)

    @property
    def _file(self) -> Path:
        assert self.folder is not None
        return self.folder / "metrics.jsonl"

    def _tracker(self, name: Tracker) -> Any:
        from accelerate import PartialState
        from accelerate.tracking import TensorBoardTracker, TrackioTracker, WandBTracker

        PartialState()  # without which they will not log
        if name == "tensorboard":
            tracker: Any = TensorBoardTracker("tensorboard", self.folder or "runs")
        else:
            tracker = {"trackio": TrackioTracker, "wandb": WandBTracker}[name]("tacit", name=self.name)
        try:
            tracker.start()
        except ImportError:
            raise ConfigError(f"report_to {name}: not installed; pip install {name}") from None
        return tracker
