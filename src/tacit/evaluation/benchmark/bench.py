"""The whole benchmark: datasets x methods x seeds, each with its tuned settings, as results, a table and plots."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from tacit.evaluation.benchmark.datasets import Sources
from tacit.evaluation.benchmark.methods import find_method, in_table_order
from tacit.evaluation.benchmark.report import plot_accuracy_by_k, plot_cost, to_markdown
from tacit.evaluation.benchmark.results import DatasetResult, combine
from tacit.evaluation.benchmark.run import Job, code_hash, measure_all, task_of
from tacit.evaluation.benchmark.tuning import Tuned
from tacit.events import Progress
from tacit.files import fill_folder, write_json, write_text

__all__ = ["Benchmark", "run_benchmark"]


@dataclass(frozen=True)
class Benchmark:
    """What was measured.

    Attributes:
        results: by dataset, in the order asked.
        origin: hash of the code, and of what the settings were tuned with.
    """

    results: Mapping[str, DatasetResult]
    origin: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The shape of `benchmark.json`."""
        return {"origin": dict(self.origin), "datasets": {n: r.to_json() for n, r in self.results.items()}}

    def write(self, folder: str | PathLike[str]) -> list[Path]:
        """Write the plots, `benchmark.md` and, last, `benchmark.json`; returns their paths."""
        results = list(self.results.values())
        pictures = [f"{Path(name).name}.png" for name in self.results]
        with fill_folder(folder, last="benchmark.json") as new:
            for picture, result in zip(pictures, results, strict=True):
                plot_accuracy_by_k(new / picture, result)
            plot_cost(new / "cost.png", results)
            write_text(new / "benchmark.md", to_markdown(results))
            write_json(new / "benchmark.json", self.to_json())
        return [Path(folder) / name for name in (*pictures, "cost.png", "benchmark.md", "benchmark.json")]


def run_benchmark(
    datasets: Sequence[str],
    methods: Sequence[str],
    seeds: Sequence[int],
    sources: Sources,
    tuned: Tuned,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Benchmark:
    """Measure every method on the test users of every dataset and seed, once, with the settings of `tuned`.

    Methods that must be told the types of users are left out where nobody knows them.

    Raises:
        ConfigError: files that are absent.
    """
    methods = in_table_order(methods)
    told = {name: task_of(name, seeds[0], sources).train.types is not None for name in datasets}
    jobs = {
        (dataset, method, seed): Job.of(dataset, seed, method, tuned.of(dataset, method))
        for dataset in datasets
        for seed in seeds
        for method in methods
        if told[dataset] or find_method(method).kind != "upper"
    }
    cells = measure_all(list(jobs.values()), sources, workers=workers, progress=progress)
    results = {}
    for dataset in datasets:
        task = task_of(dataset, seeds[0], sources)
        found = {
            method: [cells[jobs[dataset, method, seed]] for seed in seeds]
            for method in methods
            if (dataset, method, seeds[0]) in jobs
        }
        results[dataset] = combine(dataset, task.ks, task.facts, seeds, found)
    return Benchmark(results, {"code": code_hash(), "tuned_with_code": tuned.origin.get("code")})
