"""Simulated users over UltraFeedback: the HH and HHT experiments of arXiv 2412.13998.

A user has one type, a rating (`helpfulness`, `honesty`, ...), and of two responses to one prompt prefers the better
rated. Candidates are all pairs of responses to a prompt whose ratings of every objective are known, so that all types
speak of the same pairs. **A pair conflicts for a type** where another type orders it the other way; a tie of either is
no conflict. Every user brings `choices[0]` context and `choices[1]` target choices, one pair from each of as many
distinct prompts: a prompt is drawn evenly among those with a fitting pair, then a pair evenly among those that fit.

What differs from the paper, on purpose:
- prompts, not pairs, are split (80/10/10, by a hash of their text). Users of every part take their context from
  training prompts; targets of validation and test users lie on held-out prompts. Validation prompts and test prompts
  come from different halves of the data, the same halves whatever the seed, so that settings chosen with one seed
  never saw the test prompts of another;
- the users of the three parts are different draws, and there are many of each type, equally many;
- conflict shares are set for context and target apart, and hold for training users too (whose sides training mixes).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tacit.choices import ChoiceIndex, split_users
from tacit.choices.sources import Source
from tacit.episodes import mix
from tacit.errors import ChoiceError, ConfigError
from tacit.evaluation.benchmark.task import Part, Task
from tacit_experiments.datasets.ultrafeedback_pairs import CandidatePairs, PairDraw
from tacit_experiments.datasets.ultrafeedback_reader import RATINGS, RatedResponses, read_ultrafeedback

__all__ = ["check_users", "ultrafeedback_task"]

_PARTS = ("train", "validation", "test")
_HELD_OUT = 0.2  # of each half of the prompts: a tenth of all for validation, another for test
_FEWEST_PROMPTS = 10
_SPLIT, _USER = 301, 302  # independent streams of one seed

Share = float | None


def ultrafeedback_task(
    source: Source | RatedResponses,
    *,
    seed: int,
    vectors: Callable[[list[tuple[str, str]]], Tensor],
    name: str = "ultrafeedback",
    objectives: Sequence[str] = ("helpfulness", "honesty"),
    ties: bool = False,
    pairs: Literal["conflict", "all"] = "conflict",
    context_conflict: Share = None,
    target_conflict: Share = None,
    users: Sequence[int] = (1000, 150, 250),
    choices: Sequence[int] = (10, 20),
    ks: Sequence[int] = (0, 1, 3, 5, 10),
) -> Task:
    """Draw users, split prompts and embed every response that occurs in a choice, once.

    Args:
        source: what `read_ultrafeedback` reads, or has read.
        seed: fixes the held-out prompts, the users and their choices.
        vectors: (prompt, response) texts, all distinct, to Float[items dim]; called once.
        name: of the task.
        objectives: the types of users, names of ratings.
        ties: keep pairs that the user's rating leaves tied, as choices of equal rank; dropped otherwise (the paper).
        pairs: `conflict`, only pairs that conflict for the user's type (the paper's HH), or `all`.
        context_conflict: share of a user's context pairs that conflict, to the nearest whole pair, whatever `pairs`
            says; None leaves it to `pairs`: all of them, or as many as there happen to be.
        target_conflict: the same for target pairs.
        users: how many train, validate and test; types take turns.
        choices: context and target choices of each user.
        ks: context sizes.

    Raises:
        ChoiceError: what `read_ultrafeedback` raises, or too few prompts for what is asked.
        ConfigError: settings out of range or in contradiction.
    """
    check_users(objectives, ties, pairs, (context_conflict, target_conflict), users, choices, ks)
    rated = source if isinstance(source, RatedResponses) else read_ultrafeedback(source)
    candidates = CandidatePairs.of(rated, objectives)
    side = _sides(rated, seed)
    usable = np.ones_like(candidates.conflict) if ties else candidates.sign != 0
    shares = [1.0 if share is None and pairs == "conflict" else share for share in (context_conflict, target_conflict)]
    drawn = []
    for part, n_users in enumerate(users):
        draws = [
            [
                PairDraw.of(
                    candidates,
                    usable[:, kind] & (side[candidates.prompt] == on),
                    kind,
                    size=size,
                    share=share,
                    what=f"{rated.source}: a {objective} user on {_PARTS[on]} prompts",
                )
                for on, size, share in zip((0, part), choices, shares, strict=True)
            ]
            for kind, objective in enumerate(objectives)
        ]
        drawn.append(_draw_users(candidates, draws, n_users, mix(seed, _USER, part)))

    used = np.unique(np.concatenate([candidates.items[people.row] for people in drawn]))
    texts = tuple(rated.item(int(i)) for i in used)
    train, validation, test = (
        Part(_index(candidates, people, used), torch.from_numpy(side == part), torch.from_numpy(people.types))
        for part, people in enumerate(drawn)
    )
    return Task(
        name=name,
        seed=seed,
        vectors=vectors(list(texts)),
        train=train,
        validation=validation,
        test=test,
        texts=texts,
        ks=tuple(ks),
        facts=_facts(rated, candidates, objectives, side) | _measured(candidates, drawn[-1]) | {"items": len(texts)},
    )


def check_users(
    objectives: Sequence[str],
    ties: bool,
    pairs: str,
    shares: tuple[Share, Share],
    users: Sequence[int],
    choices: Sequence[int],
    ks: Sequence[int],
) -> None:
    """Refuse settings of `ultrafeedback_task` that are out of range or contradict each other.

    Raises:
        ConfigError: naming the setting, what it is and what was expected.
    """
    if unknown := [name for name in objectives if name not in RATINGS]:
        raise ConfigError(f"objectives: no rating {unknown[0]!r}; the ratings are {', '.join(RATINGS)}")
    if not 2 <= len(set(objectives)) == len(objectives):
        raise ConfigError(f"objectives are {list(objectives)}; expected two or more different ratings")
    if pairs not in ("conflict", "all"):
        raise ConfigError(f"pairs is {pairs!r}; expected 'conflict' or 'all'")
    for name, share in zip(("context_conflict", "target_conflict"), shares, strict=True):
        if share is not None and not 0 <= share <= 1:
            raise ConfigError(f"{name} is {share}; expected a share from 0 to 1")
    if ties and pairs == "conflict" and shares == (None, None):
        raise ConfigError("ties is true but pairs is 'conflict', and a tied pair is no conflict; set pairs to 'all'")
    if len(users) != len(_PARTS) or min(users) < len(objectives):
        raise ConfigError(
            f"users are {list(users)}; expected train, validation and test, each at least {len(objectives)} "
            "(one per objective)"
        )
    if len(choices) != 2 or min(choices) < 1:
        raise ConfigError(f"choices are {list(choices)}; expected context and target choices per user, each at least 1")
    if not ks or min(ks) < 0 or max(ks) > choices[0]:
        raise ConfigError(f"ks are {list(ks)}; expected context sizes from 0 to the {choices[0]} context choices")


def _sides(rated: RatedResponses, seed: int) -> NDArray[np.int64]:
    """Int64[prompts]: 0 train, 1 validation, 2 test."""
    n = len(rated.prompts)
    if n < _FEWEST_PROMPTS:
        raise ChoiceError(f"{rated.source} has {n} prompts; expected at least {_FEWEST_PROMPTS} to split")
    side = np.zeros(n, np.int64)
    for part, half in enumerate(split_users(rated.prompts, (0.5, 0.5)), start=1):  # the same halves for every seed
        texts = [rated.prompts[i] for i in half.tolist()]
        _, held_out = split_users(texts, (1 - _HELD_OUT, _HELD_OUT), seed=mix(seed, _SPLIT))
        side[half[held_out].numpy()] = part
    return side


@dataclass(frozen=True)
class _Users:
    """The users of one part and their choices, sorted by user.

    Shapes:
        types: Int64[users].
        user: Int64[choices].
        row: Int64[choices], the candidate pair.
        target: Bool[choices], whether it was drawn as a target.
    """

    types: NDArray[np.int64]
    user: NDArray[np.int64]
    row: NDArray[np.int64]
    target: NDArray[np.bool_]


def _draw_users(candidates: CandidatePairs, draws: list[list[PairDraw]], n_users: int, seed: int) -> _Users:
    """`n_users` users; `draws[type]` are those of context and target. A user does not depend on how many there are."""
    types = np.arange(n_users) % len(draws)
    rows, target = [], []
    for user, kind in enumerate(types):
        rng = np.random.default_rng(mix(seed, user))
        context = draws[kind][0](rng, np.empty(0, np.int64))
        asked = draws[kind][1](rng, candidates.prompt[context])
        rows.append(np.concatenate([context, asked]))
        target.append(np.repeat([False, True], [len(context), len(asked)]))
    sizes = [len(row) for row in rows]
    return _Users(types, np.repeat(np.arange(n_users), sizes), np.concatenate(rows), np.concatenate(target))


def _index(candidates: CandidatePairs, users: _Users, used: NDArray[np.int64]) -> ChoiceIndex:
    """Their choices over the items `used` (Int64[items] ascending, numbered from 0); groups are prompts."""
    sign = candidates.sign[users.row, users.types[users.user]]
    items = np.searchsorted(used, candidates.items[users.row])
    items[sign < 0] = items[sign < 0, ::-1]
    rank = np.stack([np.zeros(len(sign), np.int64), sign != 0], axis=1)
    group = np.repeat(candidates.prompt[users.row, None], 2, axis=1)
    arrays = (torch.from_numpy(array) for array in (users.user, items, rank, group))
    return ChoiceIndex.build(*arrays, n_users=len(users.types))


def _facts(
    rated: RatedResponses, candidates: CandidatePairs, objectives: Sequence[str], side: NDArray[np.int64]
) -> dict[str, float | int | str]:
    """What was read, dropped and left, and how often each two types conflict where both are strict."""
    facts: dict[str, float | int | str] = {**rated.counts}
    facts |= {f"{part} prompts": int((side == number).sum()) for number, part in enumerate(_PARTS)}
    facts |= {"pairs": len(candidates.items), "pairs of unknown rating": candidates.unknown}
    for a, b in combinations(range(len(objectives)), 2):
        strict, conflicting = candidates.between(a, b)
        names = f"{objectives[a]}/{objectives[b]}"
        facts[f"strict pairs {names}"] = strict
        facts[f"conflict {names}"] = round(conflicting / max(1, strict), 4)
    return facts


def _measured(candidates: CandidatePairs, users: _Users) -> dict[str, float]:
    """The shares of the users' choices that conflict for their type and that are ties, on each side."""
    kind = users.types[users.user]
    conflict, tie = candidates.conflict[users.row, kind], candidates.sign[users.row, kind] == 0
    measured = {}
    for name, side in (("context", ~users.target), ("target", users.target)):
        measured[f"test {name} conflict"] = round(float(conflict[side].mean()), 4)
        measured[f"test {name} ties"] = round(float(tie[side].mean()), 4)
    return measured
