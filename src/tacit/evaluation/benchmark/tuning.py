"""Choosing settings on validation users: every method the same number of settings, none of it near a test user."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tacit.baselines.method import Settings
from tacit.errors import ConfigError
from tacit.evaluation.benchmark.datasets import DATASETS, Sources, find_dataset
from tacit.evaluation.benchmark.methods import find_method
from tacit.evaluation.benchmark.run import Job, code_hash, data_hash, measure_all
from tacit.events import Progress
from tacit.files import write_json

__all__ = ["Tuned", "read_tuned", "tune", "tuned_on"]


@dataclass(frozen=True)
class Tuned:
    """The chosen settings, by family of datasets and method, and what they were chosen on."""

    settings: Mapping[str, Mapping[str, Settings]]
    origin: Mapping[str, Any]

    def of(self, dataset: str, method: str) -> Settings:
        """What was chosen for the dataset's family, or the method's first setting where nothing was."""
        return self.settings.get(find_dataset(dataset).family, {}).get(method, find_method(method).grid[0])


def read_tuned(file: Path) -> Tuned:
    """What `tune` wrote; nothing chosen where there is no file.

    Raises:
        ConfigError: not a file that `tune` wrote.
    """
    if not file.exists():
        return Tuned({}, {})
    try:
        raw = json.loads(file.read_text())
        return Tuned(raw["settings"], raw["origin"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{file}: not a file of `tacit benchmark --tune` ({error}); run that again") from None


def tuned_on(datasets: Sequence[str]) -> Tuned:
    """The settings that the datasets bring themselves."""
    files = dict.fromkeys(file for name in datasets if (file := find_dataset(name).tuned) is not None)
    found = [read_tuned(file) for file in files]
    settings = {family: chosen for tuned in found for family, chosen in tuned.settings.items()}
    return Tuned(settings, found[0].origin if found else {})


def tune(
    datasets: Sequence[str],
    methods: Sequence[str],
    sources: Sources,
    *,
    file: Path,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Tuned:
    """Try every setting of every method on the first dataset of each family; keep the least validation NLL in `file`.

    NLL is averaged over users, context sizes and the dataset's draws. Families and methods that are not named keep what
    was chosen before. Killed and started again, it goes on where it was.
    """
    families = {find_dataset(name).family: name for name in reversed(datasets)}
    families |= {each.family: each.name for each in reversed([*DATASETS.values()]) if each.family in families}
    jobs: dict[tuple[str, str, int, int], Job] = {}
    for family, name in families.items():
        dataset = find_dataset(name)
        for method in methods:
            for number, settings in enumerate(find_method(method).grid):
                for seed in range(0 if find_method(method).kind == "upper" else dataset.draws):
                    jobs[family, method, number, seed] = Job.of(dataset.name, seed, method, settings, "validation")
    cells = measure_all(list(jobs.values()), sources, workers=workers, progress=progress)
    before = read_tuned(file)
    chosen: dict[str, dict[str, Settings]] = {name: dict(by_method) for name, by_method in before.settings.items()}
    losses: dict[str, Any] = dict(before.origin.get("validation_nll", {}))
    for family, method in {key[:2]: None for key in jobs}:
        by_setting: dict[int, list[float]] = {}
        for key, job in jobs.items():
            if key[:2] == (family, method):
                by_setting.setdefault(key[2], []).append(float(cells[job].nll.nanmean(1).nanmean()))
        nll = [sum(draws) / len(draws) for draws in by_setting.values()]
        chosen.setdefault(family, {})[method] = find_method(method).grid[nll.index(min(nll))]
        losses.setdefault(family, {})[method] = [round(value, 4) for value in nll]
    names = {job.dataset for job in jobs.values()}
    data = dict(before.origin.get("data", {})) | {name: data_hash(name, sources) for name in sorted(names)}
    origin = {"code": code_hash(), "data": data, "validation_nll": losses}
    write_json(file, {"settings": chosen, "origin": origin})
    return read_tuned(file)
