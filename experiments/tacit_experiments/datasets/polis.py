"""Real people: the Bowling Green poll (Polis). A choice is a statement a person agreed with against one disagreed with.

All statements answer one unspoken prompt, so groups are statements. Statements are divided as people are (`folds`);
pairs lie inside one part of the statements. Contexts hold training statements, targets the part's own statements, the
same in both tasks, which differ in what other people trained on:

- `polis-unseen`: pairs of training statements, so that nobody has said anything about what is asked;
- `polis-seen`: pairs of any statements, so that the asked ones are known, from others.

Data: compdemocracy/openData, CC-BY-4.0: `participants-votes.csv.gz` (one row per person, a column per statement; 1
agree, -1 disagree, 0 pass, empty not seen) and `comments.csv`. Statements that moderators removed are left out.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.csv
import torch
from torch import Tensor

from tacit.choices import ChoiceIndex
from tacit.episodes.hashing import mix
from tacit.evaluation.benchmark.datasets import Sources
from tacit.evaluation.benchmark.task import Part, Task, describe_parts
from tacit_experiments.datasets.folds import divide_groups, divide_people
from tacit_experiments.datasets.pairs import group_mask

__all__ = ["FOLDER", "Poll", "polis_task", "read_poll"]

FOLDER = "polis_bowling_green"
HELD_OUT = 0.15  # of the statements, for validation and for test
PAIRS = 200  # of one person inside one part of the statements, at most
_PAIRS = 441


@dataclass(frozen=True)
class Poll:
    """votes Int8[people statements]: 1 agree, -1 disagree, 0 otherwise; the statements' texts in the same order."""

    votes: np.ndarray
    texts: tuple[str, ...]


def polis_task(seed: int, sources: Sources, *, name: str, seen: bool) -> Task:
    """People of one fold and a fresh draw of statements; `seen`: whether others trained on the asked statements."""
    poll = read_poll(sources.folder(FOLDER))
    n_people, n_statements = poll.votes.shape
    people = divide_people(n_people, seed)
    held_out = round(HELD_OUT * n_statements)
    statements = divide_groups(n_statements, seed, validation=held_out, test=held_out)
    everything = torch.arange(n_statements)
    nothing = group_mask(everything[:0], n_statements)
    train = Part(_choices(poll, people.train, [everything if seen else statements.train], seed), nothing)
    validation, test = (
        Part(_choices(poll, who, [statements.train, asked], seed), group_mask(asked, n_statements))
        for who, asked in ((people.validation, statements.validation), (people.test, statements.test))
    )
    texts = tuple(("", text) for text in poll.texts)
    return Task(
        name=name,
        seed=seed,
        vectors=sources.vectors(list(texts)),
        train=train,
        validation=validation,
        test=test,
        texts=texts,
        facts=describe_parts(train, validation, test)
        | {"people": n_people, "statements": n_statements, "test_statements": held_out},
    )


def read_poll(folder: Path) -> Poll:
    """The poll in a folder, statements by ascending id."""
    with (folder / "comments.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["moderated"] != "-1"]
    rows.sort(key=lambda row: int(row["comment-id"]))
    table = pyarrow.csv.read_csv(folder / "participants-votes.csv.gz")
    votes = [table[row["comment-id"]].fill_null(0).to_numpy() for row in rows]
    return Poll(np.stack(votes, axis=1).astype(np.int8), tuple(row["comment-body"].strip() for row in rows))


def _choices(poll: Poll, people: Tensor, sides: list[Tensor], seed: int) -> ChoiceIndex:
    """Pairs (agreed, disagreed) of `people`, renumbered from 0, both statements from the same one of `sides`.

    All pairs of a person inside a side, or `PAIRS` random ones of them.
    """
    user, items = [], []
    for number, person in enumerate(people.tolist()):
        for place, side in enumerate(sides):
            vote = poll.votes[person, side]
            agreed, disagreed = side.numpy()[vote == 1], side.numpy()[vote == -1]
            count = len(agreed) * len(disagreed)
            rng = np.random.default_rng(mix(seed, _PAIRS, person, place))
            first, second = np.divmod(rng.choice(count, min(PAIRS, count), replace=False), max(1, len(disagreed)))
            items.append(np.stack([agreed[first], disagreed[second]], axis=1))
            user.append(np.full(len(first), number))
    ids = torch.from_numpy(np.concatenate(items))
    rank = torch.tensor([0, 1]).expand_as(ids)
    return ChoiceIndex.build(torch.from_numpy(np.concatenate(user)), ids, rank, ids, n_users=len(people))
