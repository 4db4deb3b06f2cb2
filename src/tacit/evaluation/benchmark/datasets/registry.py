"""The datasets of the benchmark by name; the repository's own are registered by `tacit_experiments` (experiments/)."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tacit.evaluation.benchmark.datasets.sources import Sources
from tacit.evaluation.benchmark.task import Task
from tacit.registry import Registry

__all__ = ["DATASETS", "DATASET_FILES", "Dataset", "register_dataset"]


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
    """

    name: str
    family: str
    about: str
    make: Callable[[int, Sources], Task]
    draws: int = 1
    signal: bool = True
    needs: str | None = None
    file: str | None = None


DATASETS: Registry[Dataset] = Registry("dataset")
"""By name, in the order of the table."""

DATASET_FILES: Registry[Callable[[Path], list[Dataset]]] = Registry("dataset")
"""By ending, such as `.toml`: what reads a file that describes several datasets."""


def register_dataset(dataset: Dataset) -> Dataset:
    """Add a dataset under its name."""
    return DATASETS.register(dataset.name)(dataset)
