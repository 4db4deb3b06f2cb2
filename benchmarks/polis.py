"""Real users: does a handful of choices tell what a person will say about statements nobody trained on?

    python benchmarks/polis.py [--data DIR] [--splits 5] [--out DIR] [--threads N]

Data: the Bowling Green poll (Polis; 1 agree, -1 disagree). A choice is a statement a person agreed with against one the
same person disagreed with. People and statements are divided together: one fixed part of both is for validation (early
stopping and every setting were chosen there) and is never tested; the rest is cut into `--splits` folds, and each fold is
the test part once, so that nobody is tested twice. Pairs are drawn inside one part of the statements: a test person's
context holds training statements, the targets hold test statements.
"""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tacit.choices import ChoiceIndex

ROOT = Path(__file__).resolve().parents[1]
FOLDER = "polis_bowling_green"
VALIDATION = 0.15  # of people and of statements
AT_LEAST = 10  # training people who chose, for a pair of statements to count as contested
PAIRS = 200  # of one person inside one part of the statements, at most


@dataclass(frozen=True)
class Poll:
    """votes Int8[people statements]: 1 agree, -1 disagree, 0 otherwise; the statements' texts in the same order."""

    votes: np.ndarray
    texts: list[str]


@dataclass(frozen=True)
class Split:
    """Numbers of the people and statements of each part, ascending, by "train", "validation", "test"."""

    people: dict[str, np.ndarray]
    statements: dict[str, np.ndarray]


def read_poll(data: Path) -> Poll:
    """The poll without statements that the moderators removed."""
    comments = pd.read_csv(data / FOLDER / "comments.csv")
    comments = comments[comments["moderated"] != -1].sort_values("comment-id")
    votes = pd.read_csv(data / FOLDER / "participants-votes.csv.gz")
    table = votes[comments["comment-id"].astype(str).tolist()]
    return Poll(table.fillna(0).to_numpy().astype(np.int8), comments["comment-body"].str.strip().tolist())


def make_splits(poll: Poll, count: int, seed: int = 0) -> list[Split]:
    """`count` splits; test people are disjoint, and nobody and nothing that is tested ever serves for validation."""
    n_people, n_statements = poll.votes.shape
    rng = np.random.default_rng(seed)
    people, statements = rng.permutation(n_people), rng.permutation(n_statements)
    developing, tested = np.split(people, [round(VALIDATION * n_people)])
    half = n_statements // 2
    part = round(VALIDATION * n_statements)
    splits = []
    for fold in np.array_split(tested, count):
        validation = rng.choice(statements[:half], part, replace=False)
        test = rng.choice(statements[half:], part, replace=False)
        splits.append(
            Split(
                {"train": np.setdiff1d(tested, fold), "validation": np.sort(developing), "test": np.sort(fold)},
                {
                    "train": np.setdiff1d(statements, np.concatenate([validation, test])),
                    "validation": np.sort(validation),
                    "test": np.sort(test),
                },
            )
        )
    return splits


def contested(poll: Poll, people: np.ndarray, share: float) -> np.ndarray:
    """Bool[statements statements]: of the `people` who agreed with one and disagreed with the other, enough went each way.

    Symmetric, so it tells nothing of which way anybody goes.
    """
    agreed, disagreed = (np.asarray(poll.votes[people] == vote, dtype=np.float32) for vote in (1, -1))
    one = agreed.T @ disagreed
    return (np.minimum(one, one.T) >= share * (one + one.T)) & (one + one.T >= AT_LEAST)


def choices_of(
    poll: Poll, people: np.ndarray, *sides: np.ndarray, allowed: np.ndarray | None = None, seed: int = 0
) -> ChoiceIndex:
    """Pairs (agreed, disagreed) of `people` (renumbered from 0); both statements of a pair come from the same side.

    Every pair of a person inside a side, or `PAIRS` random ones of them. The group of an item is the item: all
    statements answer one prompt.
    """
    user, items = [], []
    for number, person in enumerate(people):
        for place, side in enumerate(sides):
            vote = poll.votes[person, side]
            pairs = np.stack(np.meshgrid(side[vote == 1], side[vote == -1], indexing="ij"), -1).reshape(-1, 2)
            if allowed is not None:
                pairs = pairs[allowed[pairs[:, 0], pairs[:, 1]]]
            rng = np.random.default_rng([seed, person, place])
            chosen = rng.choice(pairs, min(PAIRS, len(pairs)), replace=False) if len(pairs) else pairs
            user.append(np.full(len(chosen), number))
            items.append(chosen)
    ids = torch.from_numpy(np.concatenate(items)).long()
    rank = torch.tensor([0, 1]).expand_as(ids)
    return ChoiceIndex.build(torch.from_numpy(np.concatenate(user)), ids, rank, ids, n_users=len(people))


def mask(statements: np.ndarray, count: int) -> Tensor:
    """Bool[statements] of a list of numbers."""
    chosen = torch.zeros(count, dtype=torch.bool)
    chosen[torch.from_numpy(statements)] = True
    return chosen
