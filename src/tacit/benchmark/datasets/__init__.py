"""The benchmark's datasets: real and simulated users under one protocol, and any user's file."""

from tacit.benchmark.datasets.registry import DATASETS, Dataset
from tacit.benchmark.datasets.resolve import expand, find_dataset
from tacit.benchmark.datasets.sources import Sources
from tacit.benchmark.datasets.table import task_from_table

__all__ = ["DATASETS", "Dataset", "Sources", "expand", "find_dataset", "task_from_table"]
