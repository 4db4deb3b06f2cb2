"""Pairs of rated responses, which of them user types conflict over, and draws with a given share of conflicts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tacit.errors import ChoiceError
from tacit_experiments.datasets.ultrafeedback_reader import RatedResponses

__all__ = ["CandidatePairs", "PairDraw"]


@dataclass(frozen=True)
class CandidatePairs:
    """Pairs of responses to one prompt whose ratings of every objective are known, so that every type can judge them.

    Shapes:
        items: Int64[pairs 2].
        prompt: Int64[pairs], non-decreasing.
        sign: Int8[pairs types], 1 where the type rates the first response higher, -1 the second, 0 where it ties.
        conflict: Bool[pairs types], whether another type orders the pair the other way; a tie is no conflict.
        unknown: pairs left out because a rating is unknown.
    """

    items: NDArray[np.int64]
    prompt: NDArray[np.int64]
    sign: NDArray[np.int8]
    conflict: NDArray[np.bool_]
    unknown: int

    @classmethod
    def of(cls, rated: RatedResponses, objectives: Sequence[str]) -> "CandidatePairs":
        """The candidates of `rated`; the types are `objectives`, names of ratings."""
        items, ratings = rated.pairs(), rated.of(objectives)
        known = ~np.isnan(ratings[items]).any(axis=(1, 2))
        items = items[known]
        sign = np.sign(ratings[items[:, 0]] - ratings[items[:, 1]]).astype(np.int8)
        # The sign that is furthest from a type's own, over all types.
        furthest = np.where(sign > 0, sign.min(axis=1, keepdims=True), sign.max(axis=1, keepdims=True))
        return cls(items, rated.prompt[items[:, 0]], sign, sign * furthest < 0, int((~known).sum()))

    def between(self, a: int, b: int) -> tuple[int, int]:
        """Pairs that types `a` and `b` both order strictly, and how many of them they order oppositely."""
        product = self.sign[:, a] * self.sign[:, b]
        return int((product != 0).sum()), int((product < 0).sum())


@dataclass(frozen=True)
class _Urn:
    """Pairs to draw from, by prompt. `row`: Int64[pairs], sorted by prompt; the others are Int64[prompts]."""

    row: NDArray[np.int64]
    prompt: NDArray[np.int64]
    start: NDArray[np.int64]
    count: NDArray[np.int64]

    @classmethod
    def of(cls, pairs: CandidatePairs, fits: NDArray[np.bool_]) -> "_Urn":
        row = np.flatnonzero(fits)
        return cls(row, *np.unique(pairs.prompt[row], return_index=True, return_counts=True))

    def holds(self, prompts: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of some prompts have a pair here."""
        at = np.searchsorted(self.prompt, prompts)
        return np.append(self.prompt, -1)[at] == prompts

    def sample(self, rng: np.random.Generator, n: int, without: NDArray[np.int64]) -> NDArray[np.int64]:
        """Positions of `n` prompts (or as many as there are), none of those in `without`, evenly at random."""
        at = rng.choice(len(self.prompt), min(n + len(without), len(self.prompt)), replace=False)
        return at[~np.isin(self.prompt[at], without)][:n]

    def pick(self, rng: np.random.Generator, at: NDArray[np.int64]) -> NDArray[np.int64]:
        """One pair of each of the prompts at positions `at`."""
        return self.row[self.start[at] + rng.integers(self.count[at])]


@dataclass(frozen=True)
class PairDraw:
    """Draws for one type of user on one side: `sizes` pairs of each of two urns, all from different prompts.

    Attributes:
        what: who draws where, for messages.
        names: what the pairs of each urn are, for messages.
    """

    what: str
    names: tuple[str, str]
    urns: tuple[_Urn, _Urn]
    sizes: tuple[int, int]

    @classmethod
    def of(
        cls,
        pairs: CandidatePairs,
        fits: NDArray[np.bool_],
        kind: int,
        *,
        size: int,
        share: float | None,
        what: str,
    ) -> "PairDraw":
        """Prepare draws of `size` pairs each.

        Args:
            pairs: the candidates.
            fits: Bool[pairs], those that may be drawn.
            kind: the user's type.
            size: pairs in a draw.
            share: how many of them conflict for the type (to the nearest whole pair); None = as many as happen to.
            what: who draws where, for messages.
        """
        if share is None:
            urns = _Urn.of(pairs, fits), _Urn.of(pairs, np.zeros_like(fits))
            return cls(what, ("usable", "other"), urns, (size, 0))
        conflict = pairs.conflict[:, kind]
        urns = _Urn.of(pairs, fits & conflict), _Urn.of(pairs, fits & ~conflict)
        first = round(share * size)
        return cls(what, ("conflicting", "other"), urns, (first, size - first))

    def __call__(self, rng: np.random.Generator, taken: NDArray[np.int64]) -> NDArray[np.int64]:
        """Int64[size] rows of candidate pairs, each of another prompt, none of the prompts in `taken`.

        Raises:
            ChoiceError: there are too few prompts.
        """
        first, second = self.urns
        n_first, n_second = self.sizes
        free = [len(urn.prompt) - int(urn.holds(taken).sum()) for urn in self.urns]
        # Prompts that both urns hold go to the first only while enough stay for the second. Where that may bind, all
        # of the first urn is looked at, so that whatever can be met is met.
        spare = free[1] - n_second
        at = first.sample(rng, n_first if spare >= n_first or not n_second else free[0], taken)
        shared = second.holds(first.prompt[at])
        at = at[~shared | (np.cumsum(shared) <= spare)][:n_first]
        rest = second.sample(rng, n_second, np.concatenate([taken, first.prompt[at]]))
        if (len(at), len(rest)) != self.sizes:
            wanted = " and ".join(
                f"{size} different prompts with {name} pairs"
                for size, name in zip(self.sizes, self.names, strict=True)
                if size
            )
            there = " and ".join(str(n) for n, size in zip(free, self.sizes, strict=True) if size)
            raise ChoiceError(
                f"{self.what} needs {wanted}; there are {there}; "
                "give more prompts, or ask for fewer choices or another conflict share"
            )
        return np.concatenate([first.pick(rng, at), second.pick(rng, rest)])
