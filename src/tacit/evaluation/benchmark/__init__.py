"""The benchmark: named datasets, methods under one protocol, tuning on validation users, tables and plots."""

from typing import TYPE_CHECKING

from tacit.lazy import lazy

if TYPE_CHECKING:
    from tacit.evaluation.benchmark.bench import Benchmark, run_benchmark
    from tacit.evaluation.benchmark.methods import fit_method
    from tacit.evaluation.benchmark.results import DatasetResult, MethodResult
    from tacit.evaluation.benchmark.task import KS, Part, Task
    from tacit.evaluation.benchmark.tuning import Tuned, read_tuned, tune, tuned_on

__all__ = [
    "KS",
    "Benchmark",
    "DatasetResult",
    "MethodResult",
    "Part",
    "Task",
    "Tuned",
    "fit_method",
    "read_tuned",
    "run_benchmark",
    "tune",
    "tuned_on",
]
__getattr__, __dir__ = lazy(__name__, __file__)
