"""Sources for tests: the real files where there are any, and vectors that cost nothing."""

import os
from functools import cache
from pathlib import Path

import pytest
import torch

from tacit.evaluation.benchmark.datasets import DATASETS, Sources

DATA = Path(os.environ.get("TACIT_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")


class PlainSources(Sources):
    """Random vectors, the same for the same number of texts."""

    def vectors(self, items, embedder="minilm"):
        return torch.randn(len(items), 4, generator=torch.Generator().manual_seed(0))


SOURCES = PlainSources(DATA)


@cache
def make(name, seed=0):
    """The task of a dataset, or a skip where its data is absent."""
    needs = DATASETS[name].needs
    if needs and not (DATA / needs).is_dir():
        pytest.skip(f"needs the data set {needs}; let TACIT_DATA name the folder that holds it")
    return DATASETS[name].make(seed, SOURCES)
