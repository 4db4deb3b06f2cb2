"""What personalising buys on one honest split, and the pooling of several splits by user.

A trial trains the personalised and the pooled model on the training users of a task, stops and calibrates both on its
validation users, and asks its test users once. Both are trained on item vectors as they are and on their principal
components (steadier where items are few), and of each model the one that predicts validation users better is asked. In
several trials the same person may be a test user more than once:
such a person's accuracies are averaged first, so that everybody counts once and intervals are over people.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tacit.baselines.pooled import PooledBTL
from tacit.episodes.hashing import mix
from tacit.evaluation import accuracy, evaluation_episodes, mean_intervals, predict
from tacit.evaluation.audit.config import AuditTraining
from tacit.evaluation.audit.verdict import Estimate
from tacit.evaluation.benchmark.task import Task
from tacit.evaluation.predictions import Predictions
from tacit.events import Listener, counting
from tacit.rewards.config import RewardConfig
from tacit.rewards.fit import fit_reward
from tacit.rewards.model import RewardModel
from tacit.training.config import TrainingConfig

__all__ = ["METHODS", "AuditTraining", "Measured", "Trial", "measure", "pool"]

METHODS = ("model", "pooled", "shuffled_user")
COMPONENTS = 32


@dataclass(frozen=True)
class Trial:
    """One split: the personalised model, and what it and its controls predict for the test users.

    Attributes:
        task: the split.
        model: the personalised model.
        predictions: users are numbered as in `task.test.index`.
    """

    task: Task
    model: RewardModel
    predictions: Predictions


@dataclass(frozen=True)
class Measured:
    """Accuracies of all trials together, one row per person.

    Shapes:
        ks: the context sizes.
        accuracy: by method ("model", "pooled", "shuffled_user"), Float64[ks users], fractions averaged over the trials
            that tested the user; NaN where none did at that k.
    """

    ks: tuple[int, ...]
    accuracy: dict[str, Tensor]

    @property
    def users(self) -> dict[int, int]:
        """People tested, by k."""
        return dict(zip(self.ks, (~self.accuracy["model"].isnan()).sum(1).tolist(), strict=True))

    def difference(self, ours: str, theirs: str, *, seed: int = 0) -> dict[int, Estimate]:
        """By k, how much more accurate one method is than another on the same people's same choices."""
        gaps = 100 * (self.accuracy[ours] - self.accuracy[theirs])
        tested = gaps[:, ~gaps.isnan().all(0)]
        bounds = mean_intervals(tested, seed=seed).tolist()
        found = {}
        for k, values, (low, high) in zip(self.ks, tested, bounds, strict=True):
            present = values[~values.isnan()]
            if len(present):
                spread = float(present.std(correction=min(1, len(present) - 1)))
                found[k] = Estimate(float(present.mean()), low, high, spread, len(present))
        return found

    def level(self, method: str, k: int) -> float:
        """Accuracy in percent, people counting the same."""
        return 100 * float(self.accuracy[method][self.ks.index(k)].nanmean())


def measure(
    task: Task,
    *,
    ks: Sequence[int],
    seed: int,
    config: RewardConfig | None = None,
    training: TrainingConfig | None = None,
    label: str = "",
    on_event: Listener | None = None,
) -> Trial:
    """Train both models on `task` and ask its test users.

    Args:
        task: the split.
        ks: numbers of context choices.
        seed: fixes training, episodes and donors.
        config, training: architecture and optimisation of both models; `training.seed` is replaced.
        label: put behind the names of the two runs in events.
        on_event: receives the training events.

    Raises:
        ChoiceError: too few users or choices to train on or to ask.
    """
    config = config or RewardConfig()
    given: dict[str, Any] = {
        "validation": task.validation.index,
        "target_groups": task.validation.targets,
        "training": (training or AuditTraining()).model_copy(update={"seed": mix(seed, 401) % 2**32}),
        "on_event": on_event,
    }
    personal: list[RewardModel] = []
    pooled: list[RewardModel] = []
    for view in _views(task, config):
        seen = config.model_copy(update={"principal": view})
        what = label if view is None else f"{label}, {view} components"
        pooled.append(PooledBTL.fit(task.train.index, task.vectors, config=seen, name=f"pooled{what}", **given))
        base = {"pooled": pooled[-1]} if seen.base else {}
        personal.append(fit_reward(task.train.index, task.vectors, config=seen, name=f"reward{what}", **base, **given))
    model, everybody = (min(models, key=lambda m: m.notes["validation_nll"]) for models in (personal, pooled))
    episodes = evaluation_episodes(task.test.index, max_k=max(ks), target_groups=task.test.targets, seed=seed)
    found = predict(
        model, episodes, task.vectors, sorted(set(ks)), pooled=everybody, seed=seed,
        progress=counting(on_event, f"asking test users{label}"),
    )  # fmt: skip
    return Trial(task, model, found)


def _views(task: Task, config: RewardConfig) -> list[int | None]:
    """Numbers of principal components to try; None is all of an item's vector."""
    index = task.train.index
    items = len(index.items[index.rank >= 0].unique())
    if config.principal is not None or min(items, task.vectors.shape[1]) <= COMPONENTS:
        return [config.principal]
    return [None, COMPONENTS]


def pool(trials: Sequence[Predictions], people: Sequence[Tensor], n_people: int) -> Measured:
    """Average several trials by person.

    Args:
        trials: predictions at the same ks.
        people: per trial, Int64[users]: who each user of `predictions.users` numbering is, in 0 .. n_people - 1.
        n_people: number of people.
    """
    shape = (len(METHODS), len(trials[0].ks), n_people)
    total, count = torch.zeros(shape, dtype=torch.float64), torch.zeros(shape, dtype=torch.float64)
    for found, who in zip(trials, people, strict=True):
        values = torch.stack([accuracy(found.chosen[name], found.real) for name in METHODS])
        values[:, values.isnan().any(0)] = (
            torch.nan
        )  # a lone user has no donor: methods are compared on the same people
        total.index_add_(2, who[found.users], values.nan_to_num(0.0))
        count.index_add_(2, who[found.users], (~values.isnan()).double())
    return Measured(trials[0].ks, dict(zip(METHODS, total / count, strict=True)))
