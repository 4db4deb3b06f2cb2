"""Optional experiment trackers: the numbers of metrics.jsonl, sent where a team already looks."""

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from tacit.errors import ConfigError

__all__ = ["Tracker", "open_trackers"]

Tracker = Literal["tensorboard", "trackio", "wandb"]


def open_trackers(names: Sequence[Tracker], run: str, folder: Path | None) -> Callable[[dict[str, Any]], None]:
    """One callback for the events of a training run called `run`; each tracker keeps its own settings and logins.

    Args:
        names: which trackers.
        run: the run's name.
        folder: where TensorBoard writes (`<folder>/tensorboard`); None = `runs/`.

    Raises:
        ConfigError: a tracker that is not installed.
    """
    logs = [_tensorboard(folder) if name == "tensorboard" else _module(name, run) for name in names]

    def on_event(event: dict[str, Any]) -> None:
        numbers = {k: v for k, v in event.items() if isinstance(v, float) and k != "seconds"}
        for log, finish in logs:
            if event["event"] == "validation":
                log({f"{event['name']}/{k}": v for k, v in numbers.items()}, event["step"])
            elif event["event"] == "end":
                finish()

    return on_event


Log = tuple[Callable[[dict[str, float], int], None], Callable[[], None]]


def _tensorboard(folder: Path | None) -> Log:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ConfigError("report_to tensorboard: not installed; pip install tensorboard") from None
    writer = SummaryWriter(str(folder / "tensorboard") if folder else None)

    def log(numbers: dict[str, float], step: int) -> None:
        for name, value in numbers.items():
            writer.add_scalar(name, value, step)

    return log, writer.close


def _module(name: str, run: str) -> Log:
    """wandb, and trackio which speaks the same words."""
    try:
        module: Any = importlib.import_module(name)
    except ImportError:
        raise ConfigError(f"report_to {name}: not installed; pip install {name}") from None
    module.init(project="tacit", name=run)

    def log(numbers: dict[str, float], step: int) -> None:
        module.log(numbers, step=step)

    return log, module.finish
