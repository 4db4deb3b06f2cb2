"""The datasets of the benchmark by name, any file of preferences, and files that describe several datasets.

The repository's own are registered by `tacit_experiments` (experiments/), with the settings tuned on them.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import torch
from torch import Tensor

from tacit.choices import read_choices
from tacit.embedders import DEFAULT_EMBEDDER, Item, ItemStore, resolve_embedder
from tacit.errors import ConfigError
from tacit.evaluation.benchmark.from_table import task_from_table
from tacit.evaluation.benchmark.task import Task
from tacit.files import locked
from tacit.registry import Registry

__all__ = ["DATASETS", "DATASET_FILES", "Dataset", "Rows", "Sources", "expand", "find_dataset", "register_dataset"]


@dataclass(frozen=True)
class Rows:
    """How files of preferences are read: as the arguments of `read_choices` say."""

    skip_bad_rows: bool = False
    format: str | None = None
    columns: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Sources:
    """Files and vectors for datasets.

    Attributes:
        data: the folder that holds one folder per data set, what $TACIT_DATA names; None = there is none.
        cache: folder that keeps vectors between runs, shared by any number of processes; None = embed every time.
        rows: how files of preferences are read.
    """

    data: Path | None = None
    cache: Path | None = None
    rows: Rows = Rows()

    def folder(self, name: str) -> Path:
        """The folder of one data set.

        Raises:
            ConfigError: it is not there.
        """
        if self.data is None or not (self.data / name).is_dir():
            where = "no data folder is set" if self.data is None else f"'{self.data}' has no folder '{name}'"
            raise ConfigError(f"{where}; let $TACIT_DATA name the folder that holds '{name}'")
        return self.data / name

    def vectors(self, items: list[Item], embedder: str = DEFAULT_EMBEDDER) -> Tensor:
        """Float32[items dim] of (prompt, response) texts, embedded on the CPU; each distinct one once per cache.

        Processes that share a cache take turns: they mostly want the same texts, so the others find them done.

        Raises:
            EmbeddingError: the embedder is missing, or cannot tell the texts apart.
        """
        model = resolve_embedder(embedder, device="cpu")
        with ExitStack() as stack:
            folder = None
            if self.cache is not None:
                self.cache.mkdir(parents=True, exist_ok=True)
                folder = self.cache / f"{model.name}-{model.fingerprint}"
                stack.enter_context(locked(folder.with_suffix(".lock"), wait=True))
            store = ItemStore.open(folder, model)
            return store[store.add(items, model)]


@dataclass(frozen=True)
class Dataset:
    """A dataset that can be drawn with any seed.

    Attributes:
        name: what `tacit benchmark --data` calls it.
        family: datasets of one family share tuned settings.
        about: what it is, in one line.
        make: the task of a seed, the same each time.
        draws: how many draws of it (seeds from 0) tuning looks at; several where the draw decides much.
        signal: whether people differ in a way that choices reveal; False for a negative control.
        needs: the folder of `Sources.data` it reads, None where it needs no files.
        file: the single file it reads instead.
        tuned: a file of `tacit benchmark --tune` with the settings of its family; None = each method's first.
    """

    name: str
    family: str
    about: str
    make: Callable[[int, Sources], Task]
    draws: int = 1
    signal: bool = True
    needs: str | None = None
    file: str | None = None
    tuned: Path | None = None


DATASETS: Registry[Dataset] = Registry("dataset")
"""By name, in the order of the table."""

DATASET_FILES: Registry[Callable[[Path], list[Dataset]]] = Registry("dataset")
"""By ending, such as `.toml`: what reads a file that describes several datasets."""


def register_dataset(dataset: Dataset) -> Dataset:
    """Add a dataset under its name."""
    return DATASETS.register(dataset.name)(dataset)


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
