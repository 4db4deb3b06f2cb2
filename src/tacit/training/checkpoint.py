"""Runs that can be killed: checkpoints, and the folder `<out>.partial` where a run lives until it is complete.

A checkpoint is everything the next step depends on, written atomically, read strictly, without pickle. Episodes and
noise are functions of (seed, step), so weights, optimiser moments and a few counters are the whole state.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tacit.errors import ConfigError, ModelFormatError, OutputError, TacitError
from tacit.files import atomic_folder, first_process, only_writer, restore_folder

__all__ = ["Progress", "another_run", "read_checkpoint", "read_progress", "unfinished_run", "write_checkpoint"]

FORMAT = 2
SECONDS = 60.0
"""Between checkpoints at most, so that a kill loses no more."""


@dataclass
class Progress:
    """Where a training run stands.

    Attributes:
        run: fingerprint of data, model and settings; a checkpoint of another run is refused.
        step: optimiser steps done.
        best_step: step of the best validation so far.
        best: its numbers, `nll` among them; empty before the first validation.
        worse: validations since then.
        validated: step of the last of them.
        losses: the loss summed over the steps since the last validation, and how many these are.
        threads: CPU threads, kept over a resume because they change rounding.
        device: where it ran, kept likewise, because dropout and rounding differ between devices.
    """

    run: str
    step: int = 0
    best_step: int = 0
    best: dict[str, float] = field(default_factory=dict)
    worse: int = 0
    validated: int = 0
    losses: tuple[float, int] = (0.0, 0)
    threads: int = 1
    device: str = "cpu"


def write_checkpoint(
    folder: Path, network: nn.Module, best: Mapping[str, Tensor], optimizer: torch.optim.Optimizer, progress: Progress
) -> None:
    """Replace `folder` with the state of this moment."""
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in best.items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in moments.items()}
    with atomic_folder(folder) as temporary:
        save_file(
            {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()},
            temporary / "state.safetensors",
        )
        (temporary / "progress.json").write_text(json.dumps({"format": FORMAT, **asdict(progress)}))


def read_progress(folder: Path) -> Progress:
    """The counters alone, to decide whether a checkpoint belongs to this run."""
    try:
        raw = json.loads((folder / "progress.json").read_text())
        if raw.pop("format") != FORMAT:
            raise ValueError("another format")
        return _checked(raw)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelFormatError(
            f"{folder}: the checkpoint is damaged ({error}); delete the folder to start again"
        ) from None


def read_checkpoint(
    folder: Path, network: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[Progress, dict[str, Tensor]]:
    """Load weights and moments in place; returns the progress and the best weights so far.

    Raises:
        ModelFormatError: missing, truncated or extra tensors.
    """
    progress = read_progress(folder)
    try:
        tensors = load_file(folder / "state.safetensors")
        parts: dict[str, dict[str, Tensor]] = {"network": {}, "best": {}, "optimizer": {}}
        for name, value in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = value
        network.load_state_dict(parts["best"], strict=True)  # read as strictly as the current weights
        network.load_state_dict(parts["network"], strict=True)
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in parts["optimizer"].items():
            index, _, moment = name.partition(".")
            moments.setdefault(int(index), {})[moment] = value
        _check_moments(moments, optimizer)
        optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    except (OSError, SafetensorError, RuntimeError, KeyError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ModelFormatError(
            f"{folder}: the checkpoint is damaged ({reason}); delete the folder to start again"
        ) from None
    device = next(network.parameters()).device
    return progress, {name: value.to(device) for name, value in parts["best"].items()}


def _checked(raw: dict[str, Any]) -> Progress:
    if set(raw) != {f.name for f in fields(Progress)}:
        raise ValueError("missing or unknown counters")
    counters = [raw[name] for name in ("step", "best_step", "worse", "validated", "threads")]
    if not all(type(count) is int and count >= 0 for count in counters) or raw["threads"] < 1:
        raise ValueError(f"counters {counters}")
    if not isinstance(raw["best"], dict) or not all(isinstance(value, int | float) for value in raw["best"].values()):
        raise ValueError("numbers of the best validation that are none")
    if not isinstance(raw["device"], str):
        raise TypeError(f"device {raw['device']!r}")
    total, count = raw["losses"]
    raw["losses"] = float(total), int(count)
    return Progress(**raw)


def another_run(folder: Path) -> str:
    """What to say of an unfinished run that is not this one."""
    return (
        f"{folder} holds an unfinished run with other data or settings; repeat those to finish it, or start anew with "
        "overwrite=True"
    )


def _check_moments(moments: Mapping[int, Mapping[str, Tensor]], optimizer: torch.optim.Optimizer) -> None:
    """AdamW takes what it is given and fails, or goes astray, many steps later."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, named in moments.items():
        shapes = {name: value.shape for name, value in named.items()}
        own = parameters[index].shape if 0 <= index < len(parameters) else None
        if shapes != {"step": torch.Size(), "exp_avg": own, "exp_avg_sq": own}:
            raise ValueError(f"moments {sorted(shapes)} of parameter {index} do not fit the network")


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
