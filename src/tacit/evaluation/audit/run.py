"""`audit`: several honest splits of one table of preferences, two models on each, one verdict.

write_audit(audit(table, vectors), "audit") is what `tacit audit` does. Every repeat draws other users and other prompts
for training, validation and test; what is measured on test users is pooled by person.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from tacit.choices import ChoiceIndex, ChoiceTable
from tacit.episodes.hashing import mix
from tacit.errors import ChoiceError
from tacit.evaluation.audit.config import KS, check_settings
from tacit.evaluation.audit.disagreement import repeated_pairs
from tacit.evaluation.audit.measuring import METHODS, Trial, measure, pool
from tacit.evaluation.audit.minority import find_minority
from tacit.evaluation.audit.report import Audit
from tacit.evaluation.audit.verdict import decide, supported_k
from tacit.evaluation.benchmark.from_table import task_from_table
from tacit.evaluation.benchmark.task import Part, Task
from tacit.events import Event, Listener
from tacit.rewards.config import RewardConfig
from tacit.training.config import TrainingConfig

__all__ = ["KS", "audit", "check_settings", "plan_audit"]

CHOICES_WANTED = 10


def plan_audit(table: ChoiceTable, *, repeats: int = 3, seed: int = 0) -> tuple[Task, ...]:
    """The splits of an audit, without vectors: refuses what cannot be audited before hours go into embedding.

    Raises:
        ChoiceError: too few users or prompts to split, or too few choices of each.
    """
    if bool((table.rank <= 0).all()):
        raise ChoiceError(
            f"{table.source}: all {len(table)} choices are ties, from which nothing can be learnt; give strict ones"
        )
    empty = torch.zeros(table.n_items, 1)
    tasks = tuple(task_from_table(table, empty, seed=mix(seed, 402, r), name=table.source) for r in range(repeats))
    for task in tasks:
        _check(task.validation, "validation", table.source)
        _check(task.test, "test", table.source)
    return tasks


def audit(
    table: ChoiceTable,
    vectors: Tensor,
    *,
    min_gain: float = 1.0,
    repeats: int = 3,
    ks: Sequence[int] = KS,
    seed: int = 0,
    config: RewardConfig | None = None,
    training: TrainingConfig | None = None,
    on_event: Listener | None = None,
) -> Audit:
    """Find out whether these users disagree in a way that a few of their choices reveal, and whether it pays.

    Args:
        table: the choices.
        vectors: Float[items dim] by the table's item numbers, from `item_vectors`.
        min_gain: the smallest gain worth having, in points of accuracy.
        repeats: splits of users and prompts.
        ks: numbers of choices of a new user, at least one above 0.
        seed: fixes everything.
        config, training: architecture and optimisation of both models; `training.seed` is replaced.
        on_event: receives the training events of all runs.

    Raises:
        ChoiceError: too few users, prompts or choices.
        ConfigError: a setting out of range.
    """
    check_settings(min_gain=min_gain, repeats=repeats, ks=ks)
    metrics: list[Event] = []

    def listen(event: Event) -> None:
        if event["event"] == "validation":
            metrics.append(event)
        if on_event:
            on_event(event)

    trials: list[Trial] = []
    for number, task in enumerate(plan_audit(table, repeats=repeats, seed=seed), start=1):
        task = replace(task, vectors=vectors, texts=tuple(table.item_texts()))
        label = f" {number}/{repeats}"
        trial_seed = mix(seed, 403, number)
        trials.append(
            measure(task, ks=ks, seed=trial_seed, config=config, training=training, label=label, on_event=listen)
        )
    people = [_people(table, trial.task.test.index) for trial in trials]
    return _summary(table, trials, people, min_gain, seed, tuple(metrics))


def _summary(
    table: ChoiceTable,
    trials: Sequence[Trial],
    people: Sequence[Tensor],
    min_gain: float,
    seed: int,
    metrics: tuple[Event, ...],
) -> Audit:
    measured = pool([trial.predictions for trial in trials], people, table.n_users)
    users = measured.users
    k = supported_k(users)
    gain = measured.difference("model", "pooled", seed=seed)
    control = measured.difference("shuffled_user", "pooled", seed=seed)
    swap = measured.difference("model", "shuffled_user", seed=seed)
    counts = table.describe()
    made = torch.from_numpy(np.bincount(table.user, minlength=table.n_users))
    known = asked = 0
    for trial, who in zip(trials, people, strict=True):
        part = trial.task.test
        known += int((~part.targets[part.index.group].any(1)).sum())
        asked += int(made[who[part.index.counts > 0]].sum())
    reaches_ten = 2 * users.get(CHOICES_WANTED, 0) >= max(users.values())
    return Audit(
        verdict=decide(gain[k], control[k], k=k, min_gain=min_gain, users=counts["users"]),
        gain=gain,
        control=control,
        swap=swap,
        level={k: {name: measured.level(name, k) for name in METHODS} for k in gain},
        users=users,
        disagreement=repeated_pairs(table.index()),
        minority=find_minority(trials[0].model, trials[0].task) if swap[k].low > 0 else None,
        choices_for_ten=None if reaches_ten else -(-CHOICES_WANTED * asked // known),
        data={"source": table.source, "repeats": len(trials), "seed": seed, **counts},
        metrics=metrics,
    )


def _check(part: Part, name: str, source: str) -> None:
    """Refuse a part in which too few people have both something to be known by and something to be asked."""
    side = part.targets[part.index.group]
    asked, known = (part.index.user[rows].unique() for rows in (side.all(1), ~side.any(1)))
    able = int(torch.isin(asked, known).sum())
    if able < 2:
        raise ChoiceError(
            f"{source}: of {part.n_users} {name} users {able} have choices both on prompts kept apart as questions and "
            "on others; at least 2 are needed: bring more users, or more choices of each"
        )


def _people(table: ChoiceTable, index: ChoiceIndex) -> Tensor:
    """Int64[users]: the table's number of each user of a part, read off the rows the choices came from."""
    found = torch.full((index.n_users,), -1)
    found[index.user] = torch.from_numpy(table.user.astype("int64"))[index.row]
    return found
