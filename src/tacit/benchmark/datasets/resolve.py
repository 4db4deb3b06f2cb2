"""From what `--data` says to datasets: a name of the table, a preference file, or a TOML of UltraFeedback tasks."""

from functools import lru_cache, partial
from pathlib import Path

import torch

from tacit.benchmark.datasets.registry import DATASETS, Dataset
from tacit.benchmark.datasets.sources import Sources
from tacit.benchmark.datasets.table import task_from_table
from tacit.benchmark.datasets.ultrafeedback_config import UltraFeedbackConfig, read_dataset_config
from tacit.benchmark.task import Task
from tacit.choices import read_choices
from tacit.errors import ConfigError

__all__ = ["expand", "find_dataset"]

MARK = "#"


def expand(names: list[str]) -> list[str]:
    """Names with every TOML replaced by its tasks, as `file.toml#task`.

    Raises:
        ConfigError: neither a dataset nor a file.
    """
    found = []
    for name in names:
        if name.endswith(".toml"):
            found += [f"{name}{MARK}{config.name}" for config in read_dataset_config(Path(name))]
        else:
            find_dataset(name)
            found.append(name)
    return found


@lru_cache
def find_dataset(name: str) -> Dataset:
    """The dataset of an expanded name.

    Raises:
        ConfigError: neither a dataset nor a file.
    """
    if name in DATASETS:
        return DATASETS[name]
    file, _, task = name.partition(MARK)
    if task and file.endswith(".toml"):
        for config in read_dataset_config(Path(file)):
            if config.name == task:
                source = str(config.source)
                return Dataset(
                    name, "ultrafeedback", f"UltraFeedback users: {task}", partial(_ultrafeedback, config),
                    file=source if Path(source).is_file() else file,
                )  # fmt: skip
    if Path(name).is_file():
        return Dataset(name, name, "a file of preferences", partial(_file, name), file=name)
    raise ConfigError(
        f"--data {name!r} is neither a dataset nor a file; choose from {', '.join(DATASETS)}, "
        "or give a file of preferences or a .toml of UltraFeedback tasks"
    )


def _ultrafeedback(config: UltraFeedbackConfig, seed: int, sources: Sources) -> Task:
    return config.make(seed, sources.vectors)


def _file(name: str, seed: int, sources: Sources) -> Task:
    table = read_choices(name)
    vectors = table.item_vectors
    embedded = sources.vectors(table.item_texts()) if vectors is None else torch.as_tensor(vectors).float()
    return task_from_table(table, embedded, seed=seed, name=name)
