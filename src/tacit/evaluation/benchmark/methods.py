"""The baselines as rows of the table: their order, and how each is fitted to a task.

Every method has the same budget: as many settings as every other, the same validation users, the same rule for stopping
early.
"""

from collections.abc import Iterable
from typing import Any, Literal

from tacit.baselines import baselines
from tacit.baselines.method import BUDGET, KINDS, Method, Settings
from tacit.errors import ConfigError
from tacit.evaluation.benchmark.task import Task
from tacit.training.config import TrainingConfig

__all__ = ["TRAINING", "find_method", "fit_method", "in_table_order"]

TRAINING = {"steps": 600, "validate_every": 50, "patience": 6, "threads": 1, "device": "cpu"}


def find_method(name: str) -> type[Method]:
    """The baseline of that name.

    Raises:
        ConfigError: nothing has the name, or it brings more or fewer settings than every method may.
    """
    method: type[Method] = baselines[name]
    if len(method.grid) != BUDGET:
        raise ConfigError(f"method {name!r} brings {len(method.grid)} settings; every method has {BUDGET}")
    return method


def in_table_order(names: Iterable[str]) -> list[str]:
    """Names of methods by kind, ours first and upper lines last, otherwise as they are registered."""
    place = {name: number for number, name in enumerate(baselines)}
    return sorted(names, key=lambda name: (KINDS.index(find_method(name).kind), place[name]))


def fit_method(name: str, task: Task, settings: Settings, seed: int) -> Any:
    """A `PreferenceModel` of the task's training users; of an oracle, one per type.

    Raises:
        ConfigError: the method must be told the types of users, and nobody knows them.
    """
    method = find_method(name)
    told = {}
    if method.kind == "upper":
        told = {"groups": _types(task, "train"), "validation_groups": _types(task, "validation")}
    return method.fit(
        task.train.index,
        task.vectors,
        validation=task.validation.index,
        target_groups=task.validation.targets,
        config=method.config_class(**settings.get("config", {})),
        training=TrainingConfig(**{**TRAINING, "seed": seed, **settings.get("training", {})}),
        **told,
    )


def _types(task: Task, part: Literal["train", "validation"]) -> Any:
    types = getattr(task, part).types
    if types is None:
        raise ConfigError(f"{task.name}: nobody knows the types of these users, so no method can be told them")
    return types
