"""Splits by user and by group that stay put when the data grows.

A side is decided by a hash of the user's id (or the group's text) and the seed alone, so adding users moves nobody.
The one exception is stated: where a part of a small data set would stay empty, one member is moved into it.
"""

import hashlib
import math
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tacit.choices.choice import item_key
from tacit.choices.table import ChoiceTable
from tacit.errors import ChoiceError, ConfigError

__all__ = ["Cut", "cut", "split_groups", "split_users"]

_FRACTIONS = (0.8, 0.1, 0.1)


class Cut(NamedTuple):
    """A part of a table, and how many choices were dropped because they cross the border."""

    table: ChoiceTable
    crossing: int


def split_users(
    users: ChoiceTable | Iterable[str] | int, fractions: Sequence[float] = _FRACTIONS, *, seed: int = 0
) -> tuple[Tensor, ...]:
    """Divide users into parts: one ascending Int64[part] of user numbers for each fraction.

    Args:
        users: a table, the user ids, or a number of users without ids.
        fractions: shares of the parts, summing to 1; a part of share 0 stays empty, every other gets a user.
        seed: another seed, another split.

    Raises:
        ChoiceError: fewer users than parts.
        ConfigError: fractions that are negative or do not sum to 1.
    """
    if isinstance(users, ChoiceTable):
        ids: Iterable[str] = users.users.to_pylist()
    else:
        ids = map(str, range(users)) if isinstance(users, int) else users
    return _divide([user.encode() for user in ids], fractions, seed, "user")


def split_groups(
    table: ChoiceTable,
    fractions: Sequence[float] = _FRACTIONS,
    *,
    seed: int = 0,
    by: Literal["prompt", "item"] | None = None,
) -> tuple[Tensor, ...]:
    """Divide a table's groups into parts, numbered as in `ChoiceIndex.group`: prompt, or `n_prompts` + item.

    Args:
        table: the choices.
        fractions: shares of the parts, as in `split_users`.
        seed: another seed, another split.
        by: what a group is for the whole table; by default the prompt, or the item where there is one prompt only.

    Raises:
        ChoiceError: fewer groups than parts.
        ConfigError: fractions that are negative or do not sum to 1.
    """
    if by is None:
        by = "prompt" if table.n_prompts > 1 else "item"
    if by == "prompt":
        return _divide([prompt.encode() for prompt in table.prompts.to_pylist()], fractions, seed, by)
    parts = _divide([item_key(*item) for item in table.item_texts()], fractions, seed, by)
    return tuple(part + table.n_prompts for part in parts)


def cut(table: ChoiceTable, users: Tensor | None = None, groups: Tensor | None = None) -> Cut:
    """The choices of `users` all of whose items lie in `groups`; None stands for all.

    Users are renumbered in the given order (those without a choice here are kept, with none); items keep their ids.
    A choice with one item inside `groups` and another outside crosses the border: it is dropped and counted.

    Args:
        table: the choices.
        users: Int64[chosen], from `split_users`.
        groups: Int64[groups], one part from `split_groups`.
    """
    part = table if users is None else table.of_users(users)
    if groups is None:
        return Cut(part, 0)
    chosen = np.zeros(table.n_prompts + table.n_items, dtype=bool)
    chosen[groups.numpy()] = True
    member = chosen[table.item_prompt] | chosen[table.n_prompts :]
    inside, real = member[part.items], part.rank >= 0
    every, some = np.all(inside | ~real, axis=1), np.any(inside & real, axis=1)
    return Cut(part.select(every), int((some & ~every).sum()))


def _divide(keys: list[bytes], fractions: Sequence[float], seed: int, what: str) -> tuple[Tensor, ...]:
    shares = np.asarray(fractions, dtype=np.float64)
    if (
        shares.ndim != 1
        or not len(shares)
        or not (shares >= 0).all()
        or not math.isclose(shares.sum(), 1, abs_tol=1e-6)
    ):
        raise ConfigError(f"fractions {tuple(fractions)}; expected shares >= 0 that sum to 1")
    needed = int((shares > 0).sum())
    if len(keys) < needed:
        raise ChoiceError(
            f"{len(keys)} {what}s cannot be split into {needed} parts; expected at least {needed} {what}s: "
            "give more data or fewer parts"
        )
    salt = f"tacit split {what} {seed}".encode()[: hashlib.blake2b.MAX_KEY_SIZE]
    digests = (hashlib.blake2b(key, digest_size=8, key=salt).digest() for key in keys)
    place = np.fromiter((int.from_bytes(digest, "little") for digest in digests), np.uint64, len(keys)) / 2.0**64
    bounds = np.cumsum(shares)
    last = int(np.flatnonzero(shares)[-1])
    side = np.minimum(np.searchsorted(bounds, place, side="right"), last)
    for empty in np.flatnonzero((np.bincount(side, minlength=len(shares)) == 0) & (shares > 0)):
        # From the fullest part, whoever stands nearest to the empty part's stretch of the line.
        givers = np.flatnonzero(side == np.bincount(side, minlength=len(shares)).argmax())
        middle = bounds[empty] - shares[empty] / 2
        side[givers[np.abs(place[givers] - middle).argmin()]] = empty
    return tuple(torch.from_numpy(np.flatnonzero(side == part)) for part in range(len(shares)))
