"""From what `--data` says to datasets: a registered name, a preference file, or a file that describes datasets."""

from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import torch

from tacit.choices import read_choices
from tacit.errors import ConfigError
from tacit.evaluation.benchmark.datasets.registry import DATASET_FILES, DATASETS, Dataset
from tacit.evaluation.benchmark.datasets.sources import Sources
from tacit.evaluation.benchmark.datasets.table import task_from_table
from tacit.evaluation.benchmark.task import Task

__all__ = ["expand", "find_dataset"]

MARK = "#"


def expand(names: list[str]) -> list[str]:
    """Names, with every file that describes datasets replaced by its datasets, as `file.toml#dataset`.

    Raises:
        ConfigError: neither a dataset nor a file.
    """
    found = []
    for name in names:
        ending = Path(name).suffix
        if ending in DATASET_FILES:
            found += [f"{name}{MARK}{dataset.name}" for dataset in DATASET_FILES[ending](Path(name))]
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
    file, _, wanted = name.partition(MARK)
    if wanted and Path(file).suffix in DATASET_FILES:
        for dataset in DATASET_FILES[Path(file).suffix](Path(file)):
            if dataset.name == wanted:
                return replace(dataset, name=name)
    if Path(name).is_file():
        return Dataset(name, name, "a file of preferences", partial(_file, name), file=name)
    known = f"choose from {', '.join(DATASETS)}, or " if len(DATASETS) else ""
    raise ConfigError(f"--data {name!r} is neither a dataset nor a file; {known}give a file of preferences")


def _file(name: str, seed: int, sources: Sources) -> Task:
    rows = sources.rows
    table = read_choices(name, skip_bad_rows=rows.skip_bad_rows, format=rows.format, columns=dict(rows.columns) or None)
    vectors = table.item_vectors
    embedded = sources.vectors(table.item_texts()) if vectors is None else torch.as_tensor(vectors).float()
    return task_from_table(table, embedded, seed=seed, name=name)
