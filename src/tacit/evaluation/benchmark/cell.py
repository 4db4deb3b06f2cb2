"""One cell of the benchmark: a method fitted to a task and asked about the users of one part, once."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from tacit.baselines import OracleBTL
from tacit.baselines.method import Settings
from tacit.episodes import ChoiceBatch
from tacit.evaluation import accuracy, calibration, nll
from tacit.evaluation.benchmark.methods import fit_method
from tacit.evaluation.benchmark.task import Part, Task
from tacit.evaluation.episodes import evaluation_episodes
from tacit.evaluation.predictions import Predictions, predict
from tacit.files import write_bytes

__all__ = ["Cell", "Side", "measure_cell", "read_cell", "write_cell"]

Side = Literal["validation", "test"]
TIMED_CHOICES = 10
REPEATS = 5


@dataclass(frozen=True)
class Cell:
    """What one method did on one task. Numbers of users that were asked the same stand in the same column.

    Shapes:
        accuracy, nll, shuffled: Float64[ks users], NaN where a user lacks k choices; `shuffled` is the accuracy with
            another user's choices.
        ece: Float64[ks].
        costs: Float64[2], seconds to fit and to adapt to one user with ten choices.
    """

    accuracy: Tensor
    nll: Tensor
    shuffled: Tensor
    ece: Tensor
    costs: Tensor


def measure_cell(task: Task, method: str, settings: Settings, side: Side) -> Cell:
    """Fit on the training users, tune nothing, ask the users of `side`; all of it fixed by the task's seed."""
    task = task.principal(settings.get("principal"))
    started = time.perf_counter()
    model = fit_method(method, task, settings, task.seed)
    seconds = time.perf_counter() - started
    part: Part = getattr(task, side)
    asked = _ask_oracle(model, task, part) if isinstance(model, OracleBTL) else _ask(model, task, part)
    chosen, real = asked.chosen["model"], asked.real
    adapting = 0.0 if isinstance(model, OracleBTL) else _seconds_to_adapt(model, task, part)
    return Cell(
        accuracy(chosen, real),
        nll(chosen, real),
        accuracy(asked.chosen["shuffled_user"], real),
        torch.tensor([calibration(at_k, real).ece for at_k in chosen], dtype=torch.float64),
        torch.tensor([seconds, adapting], dtype=torch.float64),
    )


def write_cell(file: Path, cell: Cell) -> None:
    """Atomically, as safetensors."""
    write_bytes(file, save({name: value.contiguous() for name, value in vars(cell).items()}))


def read_cell(file: Path) -> Cell | None:
    """A finished cell; None where there is none, or it cannot be read and must be measured again."""
    try:
        with safe_open(file, "pt") as tensors:
            return Cell(**{name: tensors.get_tensor(name) for name in tensors.keys()})  # noqa: SIM118
    except (OSError, SafetensorError, TypeError):
        return None


def _ask(model: Any, task: Task, part: Part) -> Predictions:
    episodes = evaluation_episodes(part.index, max_k=max(task.ks), target_groups=part.targets, seed=task.seed)
    return predict(model, episodes, task.vectors, task.ks, seed=task.seed)


def _ask_oracle(oracle: OracleBTL, task: Task, part: Part) -> Predictions:
    """Every user is asked of the model of the own type."""
    assert part.types is not None
    found = [_ask(oracle.told(kind), task, part) for kind in range(len(oracle.models))]
    own = part.types[found[0].users]
    chosen = {
        name: torch.stack([p.chosen[name] for p in found])[own, :, torch.arange(len(own))].transpose(0, 1)
        for name in found[0].chosen
    }
    chosen["shuffled_user"] = torch.full_like(chosen["model"], torch.nan)  # it is told, whoever's choices it sees
    first = found[0]
    return Predictions(first.ks, first.users, first.has_k, first.targets, first.real, chosen)


def _seconds_to_adapt(model: Any, task: Task, part: Part) -> float:
    """Median of a few single-user inferences, each with a first score, after one that does not count."""
    rows = torch.arange(min(TIMED_CHOICES, len(part.index)))
    items = part.index.items[rows]
    choices = ChoiceBatch(
        task.vectors[items].unsqueeze(0),
        part.index.rank[rows].unsqueeze(0),
        torch.ones(1, len(rows)),
        part.index.timestamp[rows].unsqueeze(0),
    )
    times = []
    for _ in range(REPEATS + 1):
        started = time.perf_counter()
        model.score(model.infer(choices), choices.vectors[0, 0])  # some methods put the work off until they are asked
        times.append(time.perf_counter() - started)
    return sorted(times[1:])[REPEATS // 2]
