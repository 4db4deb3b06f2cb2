"""Measuring many cells: what is finished is read from the cache, the rest runs in parallel processes."""

import hashlib
import inspect
import json
import multiprocessing
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from tacit.baselines.method import Settings
from tacit.errors import ConfigError
from tacit.evaluation.benchmark.cell import Cell, Side, measure_cell, read_cell, write_cell
from tacit.evaluation.benchmark.datasets import Sources, find_dataset
from tacit.evaluation.benchmark.task import Task
from tacit.events import Progress

__all__ = ["Job", "code_hash", "data_hash", "measure_all", "task_of"]

SOURCE = Path(__file__).resolve().parents[2]
COUNTS = ("choices", "likelihoods", "worlds", "embedders", "episodes", "encoders", "objectives", "training", "rewards",
          "baselines")  # fmt: skip
ALONE = ("cell", "datasets", "from_table", "methods", "task")
"""The code a number depends on: change any of it and cells are measured again."""


@dataclass(frozen=True)
class Job:
    """One cell to measure; `settings` as JSON, so that jobs can be compared and sent to another process."""

    dataset: str
    seed: int
    method: str
    settings: str
    side: Side = "test"

    @classmethod
    def of(cls, dataset: str, seed: int, method: str, settings: Settings, side: Side = "test") -> "Job":
        """A job from settings as they are written."""
        return cls(dataset, seed, method, json.dumps(settings, sort_keys=True), side)


@lru_cache
def code_hash() -> str:
    """Of every source file that numbers depend on, the text world's topics among them."""
    files = [path for name in COUNTS for path in (SOURCE / name).rglob("*") if path.suffix in (".py", ".toml")]
    files += [
        *(SOURCE / "evaluation" / "benchmark" / f"{name}.py" for name in ALONE),
        *(SOURCE / "evaluation").glob("*.py"),
    ]
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(files):
        digest.update(path.relative_to(SOURCE).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def data_hash(dataset: str, sources: Sources) -> str:
    """Of the files a dataset reads, and of the code beside what makes it."""
    found = find_dataset(dataset)
    make = found.make.func if isinstance(found.make, partial) else found.make
    files = [Path(found.file)] if found.file else sorted(sources.folder(found.needs).iterdir()) if found.needs else []
    digest = hashlib.blake2b(repr(sources.rows).encode(), digest_size=8)
    for path in [*sorted(Path(inspect.getfile(make)).parent.glob("*.py")), *files]:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def measure_all(
    jobs: Sequence[Job],
    sources: Sources,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Mapping[Job, Cell]:
    """Every job's cell, from `sources.cache` where it is there, else measured and kept there.

    Killed and started again, it goes on where it was. Each worker uses one thread, so numbers do not depend on how many
    there are.

    Raises:
        ConfigError: no cache folder, or a dataset's files are absent.
    """
    if sources.cache is None:
        raise ConfigError("a benchmark needs a folder for finished cells; give one with --cache")
    data = {name: data_hash(name, sources) for name in {job.dataset for job in jobs}}
    files = {job: _file(job, data[job.dataset], sources.cache) for job in jobs}
    cells = {job: cell for job, file in files.items() if (cell := read_cell(file)) is not None}
    missing = [job for job in jobs if job not in cells]
    done = len(cells)
    if progress:
        progress(done, len(jobs))
    for job, cell in _measured(missing, files, sources, workers or os.cpu_count() or 1):
        cells[job] = cell
        done += 1
        if progress:
            progress(done, len(jobs))
    return cells


def _measured(
    jobs: Sequence[Job], files: Mapping[Job, Path], sources: Sources, workers: int
) -> Iterator[tuple[Job, Cell]]:
    if not jobs:
        return
    for name, seed in {(job.dataset, job.seed): None for job in jobs}:  # embed once, before processes race for it
        task_of(name, seed, sources)
    if workers == 1:
        for job in jobs:
            yield job, _measure(job, files[job], sources)
        return
    context = multiprocessing.get_context("spawn")  # torch does not survive a fork
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread) as pool:
        running = {pool.submit(_measure, job, files[job], sources): job for job in jobs}
        try:
            for future in as_completed(running):
                yield running[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _measure(job: Job, file: Path, sources: Sources) -> Cell:
    cell = measure_cell(task_of(job.dataset, job.seed, sources), job.method, json.loads(job.settings), job.side)
    write_cell(file, cell)
    return cell


@lru_cache(maxsize=4)
def task_of(dataset: str, seed: int, sources: Sources) -> Task:
    """The task of a dataset and seed; a process remembers the last few."""
    return find_dataset(dataset).make(seed, sources)


def _file(job: Job, data: str, cache: Path) -> Path:
    key = json.dumps([code_hash(), data, job.dataset, job.seed, job.method, job.settings, job.side])
    name = hashlib.blake2b(key.encode(), digest_size=12).hexdigest()
    return cache / "cells" / Path(job.dataset).name / f"{job.method}-{job.seed}-{job.side}-{name}.safetensors"
