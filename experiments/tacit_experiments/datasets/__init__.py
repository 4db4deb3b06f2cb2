"""The benchmark's datasets, real and simulated, registered with `tacit benchmark` in the order of its table."""

from dataclasses import replace
from functools import partial
from pathlib import Path

from tacit.evaluation.benchmark.datasets import DATASET_FILES, Dataset, Sources, register_dataset
from tacit.evaluation.benchmark.task import Task
from tacit_experiments.datasets import polis, summeval, ukp
from tacit_experiments.datasets.drift import drift_task
from tacit_experiments.datasets.polis import polis_task
from tacit_experiments.datasets.summeval import summeval_task
from tacit_experiments.datasets.synthetic import synthetic_task
from tacit_experiments.datasets.text import Kind, text_task
from tacit_experiments.datasets.ukp import ukp_task
from tacit_experiments.datasets.ultrafeedback_config import UltraFeedbackConfig, read_dataset_config

__all__ = ["TUNED"]

TUNED = Path(__file__).with_name("tuned.json")
"""Settings chosen on validation users. No test user of any seed is among them, and nothing of theirs is read here."""


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

for _dataset in _ALL:
    register_dataset(replace(_dataset, tuned=TUNED))


@DATASET_FILES.register(".toml")
def ultrafeedback_tasks(path: Path) -> list[Dataset]:
    """The UltraFeedback tasks that a TOML file describes."""
    found = []
    for config in read_dataset_config(path):
        source = str(config.source)
        about, make = f"UltraFeedback users: {config.name}", partial(_ultrafeedback, config)
        file = source if Path(source).is_file() else str(path)
        found.append(Dataset(config.name, "ultrafeedback", about, make, file=file))
    return found


def _ultrafeedback(config: UltraFeedbackConfig, seed: int, sources: Sources) -> Task:
    return config.make(seed, sources.vectors)
