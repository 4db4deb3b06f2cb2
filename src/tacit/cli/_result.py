"""What a verb returns: numbers for machines and something to read for people."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console, RenderableType

__all__ = ["Result", "shorten"]


@dataclass(frozen=True)
class Result:
    """The outcome of a verb.

    Attributes:
        data: JSON-ready; what `--json` prints.
        view: strings or rich renderables, printed in turn otherwise. Strings are shown as they are (no markup),
            since they may quote users' texts.
    """

    data: Mapping[str, Any]
    view: Sequence[RenderableType]

    def json(self) -> str:
        """`data` as indented JSON; NaN and infinity raise ValueError, because JSON has none."""
        return json.dumps(self.data, indent=2, ensure_ascii=False, allow_nan=False)

    def show(self) -> None:
        """Print `view` to stdout."""
        console = Console(markup=False, highlight=False, emoji=False, soft_wrap=True)
        for part in self.view:
            console.print(part)


def shorten(text: str, width: int = 100) -> str:
    """A user's text on one line of at most `width` characters, without control characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= width else line[: width - 3] + "..."
