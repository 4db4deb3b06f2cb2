"""The settings that come with the repository's datasets belong to them and to the methods of the package."""

import json
from pathlib import Path

import pytest

import tacit
from tacit.baselines import baselines
from tacit.evaluation.benchmark.datasets import DATASETS
from tacit.evaluation.benchmark.tuning import read_tuned, tuned_on
from tacit_experiments.datasets import TUNED as FILE

TUNED = read_tuned(FILE)
FAMILIES = sorted({dataset.family for dataset in DATASETS.values()})


@pytest.mark.parametrize("family", FAMILIES)
def test_every_method_was_tuned_on_every_family(family: str) -> None:
    wanted = {name for name, method in baselines.items() if method.kind != "upper"}
    assert set(TUNED.settings[family]) == wanted
    for name, settings in TUNED.settings[family].items():
        grid, losses = json.loads(json.dumps(baselines[name].grid)), TUNED.origin["validation_nll"][family][name]
        assert settings in grid, f"{name}: the grid has changed; tune again"
        assert len(losses) == len(grid)
        assert losses[grid.index(settings)] == min(losses)


def test_told_methods_were_not_tuned() -> None:
    assert not {"oracle", "mixture_known"} & set(TUNED.settings["synthetic"])


def test_datasets_bring_them() -> None:
    assert tuned_on(["text-sphere", "polis-seen"]) == TUNED
    assert not list(Path(tacit.__file__).parent.rglob("*tuned*.json")), "the wheel carries settings of its own"
