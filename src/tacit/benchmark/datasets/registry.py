"""The named datasets of the benchmark, in the order of its table."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tacit.benchmark.datasets import polis, summeval, ukp
from tacit.benchmark.datasets.drift import drift_task
from tacit.benchmark.datasets.polis import polis_task
from tacit.benchmark.datasets.sources import Sources
from tacit.benchmark.datasets.summeval import summeval_task
from tacit.benchmark.datasets.synthetic import synthetic_task
from tacit.benchmark.datasets.text import Kind, text_task
from tacit.benchmark.datasets.ukp import ukp_task
from tacit.benchmark.task import Task

__all__ = ["DATASETS", "Dataset"]


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


def _text(name: str, about: str, users: Kind, flips: float = 0.0) -> Dataset:
    return Dataset(name, f"text-{users}", about, partial(text_task, name=name, users=users, flips=flips))


def _polis(name: str, about: str, *, seen: bool) -> Dataset:
    make = partial(polis_task, name=name, seen=seen)
    return Dataset(name, name, about, make, draws=1 if seen else 2, needs=polis.FOLDER)


def _summeval(name: str, about: str, ratings: tuple[str, ...] | None) -> Dataset:
    make = partial(summeval_task, name=name, ratings=ratings)
    return Dataset(name, "summeval", about, make, needs=summeval.FOLDER)


_ALL = (
    Dataset("synthetic", "synthetic", "the paper's 1-D world: two types, no noise", synthetic_task),
    _text("text-discrete", "ten types, each for or against one attribute", "discrete"),
    _text("text-discrete-flip10", "the same, 10 % of training and context choices flipped", "discrete", 0.1),
    _text("text-discrete-flip20", "the same, 20 % flipped", "discrete", 0.2),
    _text("text-sphere", "everybody different, in five attributes", "sphere"),
    _text("text-sphere-flip10", "the same, 10 % of training and context choices flipped", "sphere", 0.1),
    _text("text-sphere-flip20", "the same, 20 % flipped", "sphere", 0.2),
    _text("text-two", "two types: warm and long against formal and short", "two"),
    Dataset(
        "drift", "drift", "tastes turn over 90 days, targets at their end",
        partial(drift_task, name="drift", drifting=True),
    ),
    Dataset(
        "drift-none", "drift", "the same times, nobody changes",
        partial(drift_task, name="drift-none", drifting=False),
    ),
    _polis("polis-unseen", "real people on statements nobody trained on", seen=False),
    _polis("polis-seen", "real people on statements that others judged", seen=True),
    _summeval("summeval-two", "users care for relevance or for consistency", ("relevance", "consistency")),
    _summeval("summeval-three", "or for fluency", ("relevance", "consistency", "fluency")),
    _summeval("summeval-simplex", "any mixture of four ratings", None),
    Dataset("ukp", "ukp", "negative control: which argument convinces", ukp_task, signal=False, needs=ukp.FOLDER),
)  # fmt: skip

DATASETS: dict[str, Dataset] = {dataset.name: dataset for dataset in _ALL}
"""By name, in the order of the table."""
