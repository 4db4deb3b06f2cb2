"""A task from any user's file of choices: people and prompts both divided, so that both are new when tested.

The sides of a group are training, validation target and test target. A part sees its own side and those before it:

    part         contexts on              targets on
    train        training (coins divide it anew at every step)
    validation   training                 validation targets
    test         training, validation     test targets

A group is what `ChoiceTable.index` makes it: the prompt, or the item for a user all of whose choices share one prompt.
Prompts are divided wherever somebody saw two of them (the items of users who saw only one then follow their prompt);
else items are. **A ranking that lies across sides is cut into the rankings it holds on each**, which loses nothing but
the comparisons across: under Plackett-Luce, rankings of disjoint sets of items are independent of one another. A pair
that lies across is dropped.

Every seed divides anew, so a person tested under one seed may validate under another: choose settings elsewhere.
"""

from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor

from tacit.choices import ChoiceIndex, ChoiceTable, item_key
from tacit.episodes.hashing import mix
from tacit.errors import ChoiceError, ConfigError
from tacit.evaluation.benchmark.task import Part, Task, asked_users, describe_parts

__all__ = ["PARTS", "task_from_table", "within"]

PARTS = ("train", "validation", "test")
MIN_TRAINING_USERS = 10
MIN_ASKED_USERS = 2
_PEOPLE, _GROUPS = 431, 432  # two divisions by one seed would otherwise decide one another


def task_from_table(
    table: ChoiceTable,
    vectors: Tensor,
    *,
    seed: int,
    name: str,
    split: tuple[float, float, float] = (0.6, 0.15, 0.25),
    target_share: float = 0.25,
) -> Task:
    """Divide a table's people and groups.

    Args:
        table: the choices. A `split` column decides about people: those with 'train', 'validation' and 'test' rows;
            rows of other names are left out, and a part it does not name is hashed out of the 'train' people.
        vectors: Float[items dim] by the table's item numbers.
        seed: fixes both divisions, by hashes of ids and texts.
        name: the task's.
        split: shares of people that train, validate and test.
        target_share: share of the groups that are test targets; validation targets are fewer in the proportion in which
            validation people are.

    Raises:
        ChoiceError: too few people or groups, a person in two splits, a 'split' column without 'train'.
        ConfigError: shares out of range.
    """
    if min(split) <= 0 or not 0 < target_share * (1 + split[1] / split[2]) < 1:
        raise ConfigError(
            f"split {split} and target_share {target_share}; expected three shares > 0 that leave groups to train on"
        )
    rows = np.arange(len(table))
    if table.split is not None:
        names = [i for i, found in enumerate(table.split_names) if found in PARTS]
        named = np.isin(table.split, names)
        rows, table = np.flatnonzero(named), table.select(named)
    people, index = _divide_people(table, split, seed), table.index()
    index = replace(index, row=torch.from_numpy(rows)[index.row])  # rows of the table that was given
    sides = _sides(table, index, (split[1] / split[2] * target_share, target_share), seed)
    parts = []
    for place, users in enumerate(people):
        own, targets = index.of_users(users), sides == place
        kept = [within(own, side) for side in ((sides < place, targets) if place else (targets,))]
        parts.append(Part(_joined(kept), targets if place else torch.zeros_like(targets)))
    train, validation, test = parts
    groups = "prompts" if _by_prompt(table, index) else "items"
    _check(table.source, groups, train, validation, test)
    facts = describe_parts(train, validation, test) | {
        "choices": len(table),
        "choices_lost_across_sides": len(table) - sum(len(part.index.row.unique()) for part in parts),
        "groups": groups,
    }
    texts = tuple(table.item_texts())
    return Task(
        name=name,
        seed=seed,
        vectors=vectors,
        train=train,
        validation=validation,
        test=test,
        texts=texts,
        facts=facts,
    )


def within(index: ChoiceIndex, groups: Tensor) -> ChoiceIndex:
    """What the choices of an index say of some groups (Bool[groups]) alone: items elsewhere are struck out.

    Choices left with fewer than two items vanish; ranks close up from 0; rows and users keep their numbers.
    """
    inside = groups[index.group] & (index.rank >= 0)
    order = torch.argsort(inside.logical_not().byte(), dim=1, stable=True)
    items, rank, group, real = (t.gather(1, order) for t in (index.items, index.rank, index.group, inside))
    worse = torch.nn.functional.pad(rank[:, 1:] != rank[:, :-1], (1, 0))
    struck = replace(
        index,
        items=items.where(real, torch.zeros_like(items)),
        rank=worse.cumsum(1).where(real, torch.full_like(rank, -1)),
        group=group.where(real, group[:, :1]),
    )
    return struck.select(inside.sum(1) > 1)


def _joined(kept: list[ChoiceIndex]) -> ChoiceIndex:
    """Indices of the same users as one."""
    user, items, rank, group, weight, timestamp, row = (
        torch.cat([getattr(index, field) for index in kept])
        for field in ("user", "items", "rank", "group", "weight", "timestamp", "row")
    )
    joined = ChoiceIndex.build(user, items, rank, group, n_users=kept[0].n_users, weight=weight, timestamp=timestamp)
    return replace(joined, row=row[joined.row])


def _divide_people(table: ChoiceTable, split: tuple[float, float, float], seed: int) -> list[Tensor]:
    """Int64[users] of each part, numbers in the table."""
    groups = [torch.from_numpy(np.unique(table.user))]
    named = ["train"]
    if table.split is not None:
        named = [part for part in PARTS if part in table.split_names]
        if "train" not in named:
            found = ", ".join(map(repr, table.split_names[:5]))
            raise ChoiceError(
                f"{table.source} has a 'split' column without 'train' rows (found {found}); name them so, or drop it"
            )
        groups = [
            torch.from_numpy(np.unique(table.user[table.split == table.split_names.index(part)])) for part in named
        ]
        shared = sum(map(len, groups)) - len(torch.cat(groups).unique())
        if shared:
            raise ChoiceError(
                f"{table.source}: {shared} users have rows in two of 'train', 'validation' and 'test'; give each user "
                "one split, or drop the column"
            )
    people = dict(zip(named, groups, strict=True))
    hashed = [part for part in PARTS if part == "train" or part not in people]
    shares = [split[PARTS.index(part)] for part in hashed]
    pool = people["train"]
    if len(pool) < MIN_TRAINING_USERS:
        raise ChoiceError(
            f"{table.source}: {len(pool)} users to train on{' and to hold out' if len(hashed) > 1 else ''}; at least "
            f"{MIN_TRAINING_USERS} are needed, bring more users"
        )
    keys = [user.encode() for user in table.users.take(pool.numpy()).to_pylist()]
    found = _shuffle_and_cut(keys, shares, mix(seed, _PEOPLE))
    people |= {part: pool[chosen] for part, chosen in zip(hashed, found, strict=True)}
    return [people[part] for part in PARTS]


def _by_prompt(table: ChoiceTable, index: ChoiceIndex) -> bool:
    """Whether prompts are divided: somebody saw two."""
    return int(index.group.min()) < table.n_prompts


def _sides(table: ChoiceTable, index: ChoiceIndex, targets: tuple[float, float], seed: int) -> Tensor:
    """Int64[groups]: 0 training, 1 validation targets, 2 test targets."""
    prompts, by_prompt = torch.from_numpy(table.item_prompt.astype(np.int64)), _by_prompt(table, index)
    used = index.items[index.rank >= 0].unique()
    if by_prompt:
        used = prompts[used].unique()
        keys = [prompt.encode() for prompt in table.prompts.take(used.numpy()).to_pylist()]
    else:
        keys = [item_key(*table.item(int(item))) for item in used]
    sides = torch.zeros(table.n_prompts + table.n_items, dtype=torch.int64)
    for side, members in enumerate(_shuffle_and_cut(keys, (1 - sum(targets), *targets), mix(seed, _GROUPS))):
        sides[used[members] if by_prompt else used[members] + table.n_prompts] = side
    if by_prompt:
        sides[table.n_prompts :] = sides[prompts]
    return sides


def _shuffle_and_cut(keys: list[bytes], shares: Sequence[float], seed: int) -> list[Tensor]:
    """Ascending Int64[part] positions of each part: order by a hash of (seed, key), then cut at the shares.

    Parts are as large as their shares say, to the nearest whole. `split_users` tosses a coin for each key instead, so
    that nobody moves when data is added; among the thirty items of a poll it can leave a part almost bare.
    """
    salt = f"{seed}".encode()
    order = sorted(range(len(keys)), key=lambda i: blake2b(keys[i], digest_size=16, key=salt).digest())
    cuts = np.round(np.cumsum(shares)[:-1] / np.sum(shares) * len(keys)).astype(int).tolist()
    return [part.sort().values for part in torch.tensor(order, dtype=torch.int64).tensor_split(cuts)]


def _check(source: str, groups: str, train: Part, validation: Part, test: Part) -> None:
    """Refuse a division that leaves too few people to learn from or to ask."""
    learnt = len(train.index.user.unique())
    asked = [len(asked_users(part)) for part in (validation, test)]
    if learnt < MIN_TRAINING_USERS or min(asked) < MIN_ASKED_USERS:
        raise ChoiceError(
            f"{source}: with users and {groups} held out, {learnt} users are "
            f"left to train on, and {asked[0]} and {asked[1]} to validate and test with a strict choice to "
            f"foresee; expected at least {MIN_TRAINING_USERS}, {MIN_ASKED_USERS} and {MIN_ASKED_USERS}: bring more "
            f"users, more {groups}, or more choices of each user"
        )
