"""The benchmark's datasets: how one is described and found, and any user's file as one."""

from typing import TYPE_CHECKING

from tacit.lazy import lazy

if TYPE_CHECKING:
    from tacit.evaluation.benchmark.datasets.registry import (
        DATASET_FILES,
        DATASETS,
        Dataset,
        expand,
        find_dataset,
        register_dataset,
    )
    from tacit.evaluation.benchmark.datasets.sources import Rows, Sources
    from tacit.evaluation.benchmark.datasets.table import task_from_table

__all__ = [
    "DATASETS",
    "DATASET_FILES",
    "Dataset",
    "Rows",
    "Sources",
    "expand",
    "find_dataset",
    "register_dataset",
    "task_from_table",
]
__getattr__, __dir__ = lazy(__name__, __file__)
