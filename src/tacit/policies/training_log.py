"""What a policy's training says while it runs: to a listener, to `metrics.jsonl`, and to trackers."""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from tacit.training.loop import Event
from tacit.training.trackers import Tracker, open_trackers

__all__ = ["TrainingLog"]


class TrainingLog:
    """Hands events on, and appends what is measured to `metrics.jsonl`; one process speaks for all."""

    def __init__(self, folder: Path, on_event: Callable[[Event], None] | None) -> None:
        self.folder, self.listeners = folder, [on_event] if on_event else []
        self.file, self.here = folder / "metrics.jsonl", True

    def begin(self, step: int, trackers: Sequence[Tracker], *, here: bool) -> None:
        """Drop what an earlier run noted beyond `step`, from where this one goes on."""
        self.here = here
        if not here:
            return
        kept = []
        for raw in self.file.read_text().splitlines() if self.file.exists() else ():
            with suppress(ValueError):  # the last line, cut by a kill
                kept += [raw] if json.loads(raw)["step"] <= step else []
        self.file.write_text("".join(raw + "\n" for raw in kept))
        if trackers:
            self.listeners.append(open_trackers(trackers, "policy", self.folder))

    def __call__(self, event: Event) -> None:
        """One event, in its turn."""
        if not self.here:
            return
        if event["event"] in ("log", "validation"):
            with self.file.open("a") as file:
                file.write(json.dumps({key: value for key, value in event.items() if key != "event"}) + "\n")
        for listener in self.listeners:
            listener(event)
