"""What long work says while it runs."""

from collections.abc import Callable
from typing import Any

__all__ = ["Event", "Listener", "Progress", "counting"]

Event = dict[str, Any]
"""What a training run emits: `{"event": "start" | "step" | "validation" | "log" | "end", "name", "step", "steps", ...}`
with numbers; what is done is `step` of `steps`.

"progress" events tell of other long work by `name`: items embedded, answers written, users asked. `fit_reward` adds
`{"event": "inert", "name", "swap_gain"}` where personalisation is, and "unclear" in its place where validation users
are too few to tell.
"""

Listener = Callable[[Event], None]
"""Hears every event; must be quick."""

Progress = Callable[[int, int], None]
"""Called with (pieces done, pieces to do)."""


def counting(listener: Listener | None, name: str) -> Progress | None:
    """A callback that tells `listener` how far the work called `name` is, if anybody listens."""
    if listener is None:
        return None
    return lambda done, total: listener({"event": "progress", "name": name, "step": done, "steps": total})
