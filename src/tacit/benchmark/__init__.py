"""The benchmark: named datasets, methods under one protocol, tuning on validation users, tables and plots."""

from tacit.benchmark.task import KS, Part, Task

__all__ = ["KS", "Part", "Task"]
