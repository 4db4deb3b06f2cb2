"""ChoiceTable: choices of many users with every distinct text stored once and everything else as integers.

Two million pairs over 200 000 items and 50 000 users take some 70 MB beside their texts.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tacit.choices.builder import MAX_SLOTS, CleanRows, TableBuilder
from tacit.choices.choice import Choice
from tacit.choices.dropping import stop_or_skip
from tacit.errors import ChoiceError

if TYPE_CHECKING:
    import torch

    from tacit.choices.index import ChoiceIndex

__all__ = ["ChoiceTable"]

_CHUNK = 32_768
_NAMED = 5


@dataclass(frozen=True, eq=False)
class ChoiceTable:
    """Choices in file order; users, prompts and items are numbers into tables of distinct texts.

    A selection of choices keeps the tables of prompts and items, so item ids (and vectors embedded for them) stay
    valid across every part cut from one table. An item is a (prompt, response).

    Shapes:
        users: text [users], prompts: text [prompts], responses: text [items] (Arrow large_string).
        item_prompt: Int32[items], the prompt of each item.
        user: Int32[choices].
        items: Int32[choices slots], best first; padding slots hold 0.
        rank: Int8[choices slots], 0 = best, equal = tie, -1 = padding slot.
        weight: Float32[choices], > 0.
        timestamp: Float64[choices] seconds, NaN where unknown.
        line: Int64[choices], 1-based row in the source: the line of a JSON Lines file, the row a spreadsheet shows
            for a CSV file (its header is row 1), the row number elsewhere.
        split: Int32[choices] into `split_names`, -1 = in none; None where the source has no `split` column.
        item_vectors: Float32[items dim] where the source carries vectors, else None.
        source: where the choices came from, for messages.
        skipped: (line, cause) of each row that was dropped: bad rows, where asked to, and rows that compare nothing.
        format: the log format it was read in.
    """

    users: pa.LargeStringArray
    prompts: pa.LargeStringArray
    responses: pa.LargeStringArray
    item_prompt: NDArray[np.int32]
    user: NDArray[np.int32]
    items: NDArray[np.int32]
    rank: NDArray[np.int8]
    weight: NDArray[np.float32]
    timestamp: NDArray[np.float64]
    line: NDArray[np.int64]
    split: NDArray[np.int32] | None = None
    split_names: tuple[str, ...] = ()
    item_vectors: NDArray[np.float32] | None = None
    source: str = "choices"
    skipped: tuple[tuple[int, str], ...] = field(default=(), repr=False)
    format: str = "tacit"

    @classmethod
    def from_choices(cls, choices: Iterable[Choice], *, source: str = "choices") -> "ChoiceTable":
        """A table of `choices`, in their order.

        Raises:
            ChoiceError: no choices, or one that is malformed (ranks not from 0 upwards, a blank or repeated text).
        """
        builder, line, stream = TableBuilder(), 0, iter(choices)
        while chunk := list(islice(stream, _CHUNK)):
            for number, choice in enumerate(chunk, start=line + 1):
                if cause := _fault(choice):
                    raise ChoiceError(f"{source}: choice {number} is malformed: {cause}")
            builder.add(_clean(chunk, line))
            line += len(chunk)
        if not line:
            raise ChoiceError(f"{source} holds no choices; expected at least one")
        return cls.from_builder(builder, source=source)

    @classmethod
    def from_builder(
        cls,
        builder: TableBuilder,
        *,
        source: str,
        skipped: tuple[tuple[int, str], ...] = (),
        format: str = "tacit",  # noqa: A002
    ) -> "ChoiceTable":
        """The table of everything a builder took."""
        return cls(**vars(builder.finish()), source=source, skipped=skipped, format=format)

    def __len__(self) -> int:
        return len(self.user)

    def __getitem__(self, i: int) -> Choice:
        """Choice `i`, with its texts."""
        rank = self.rank[i]
        real = rank >= 0
        items = self.items[i][real]
        time = float(self.timestamp[i])
        return Choice(
            user_id=self.users[int(self.user[i])].as_py(),
            prompt=self.item(int(items[0]))[0],
            responses=tuple(self.responses[int(j)].as_py() for j in items),
            rank=tuple(rank[real].tolist()),
            weight=float(self.weight[i]),
            timestamp=None if np.isnan(time) else time,
        )

    def __iter__(self) -> Iterator[Choice]:
        return (self[i] for i in range(len(self)))

    @property
    def n_users(self) -> int:
        """Number of users, those without a choice here included."""
        return len(self.users)

    @property
    def n_prompts(self) -> int:
        """Number of distinct prompts."""
        return len(self.prompts)

    @property
    def n_items(self) -> int:
        """Number of distinct items."""
        return len(self.responses)

    def item(self, i: int) -> tuple[str, str]:
        """(prompt, response) of item `i`."""
        return self.prompts[int(self.item_prompt[i])].as_py(), self.responses[int(i)].as_py()

    def item_texts(self) -> list[tuple[str, str]]:
        """(prompt, response) of every item, by item id."""
        prompts = self.prompts.take(pa.array(self.item_prompt)).to_pylist()
        return list(zip(prompts, self.responses.to_pylist(), strict=True))

    @property
    def prompt(self) -> NDArray[np.int32]:
        """Int32[choices]: the prompt of each choice."""
        return self.item_prompt[self.items[:, 0]]

    def index(self) -> "ChoiceIndex":
        """The integer columns as tensors, sorted by user.

        The group of a choice is its prompt's number; for a user all of whose choices share one prompt it is
        `n_prompts + item`, slot by slot.
        """
        import torch

        from tacit.choices.index import ChoiceIndex

        prompt = self.prompt
        some_prompt = np.zeros(self.n_users, np.int32)
        some_prompt[self.user] = prompt  # whichever is written last: users with one prompt have no other
        elsewhere = np.bincount(self.user[some_prompt[self.user] != prompt], minlength=self.n_users)
        one_prompt = (elsewhere == 0)[self.user]
        items = np.where(self.rank < 0, self.items[:, :1], self.items)
        group = np.where(one_prompt[:, None], items.astype(np.int64) + self.n_prompts, prompt[:, None])
        return ChoiceIndex.build(
            torch.from_numpy(self.user.astype(np.int64)),
            torch.from_numpy(self.items.astype(np.int64)),
            torch.from_numpy(self.rank.astype(np.int64)),
            torch.from_numpy(group),
            n_users=self.n_users,
            weight=torch.from_numpy(self.weight.copy()),
            timestamp=torch.from_numpy(self.timestamp.copy()),
        )

    def select(self, mask: NDArray[np.bool_]) -> "ChoiceTable":
        """The choices where `mask` (Bool[choices]) holds; users, prompts and items keep their numbers.

        Raises:
            ChoiceError: the mask is not Bool[choices].
        """
        mask = np.asarray(mask)
        if mask.dtype != np.bool_ or mask.shape != (len(self),):
            raise ChoiceError(f"expected a mask Bool[{len(self)}]; found {mask.dtype}{list(mask.shape)}")
        return self._rows(np.flatnonzero(mask))

    def of_users(self, users: "Sequence[int] | NDArray[np.integer] | torch.Tensor") -> "ChoiceTable":
        """The choices of `users` (Int[chosen], distinct), in file order, with users renumbered 0 .. in the given order.

        Raises:
            ChoiceError: a number out of range or given twice.
        """
        chosen = np.asarray(users, dtype=np.int64)
        if len(np.unique(chosen)) != len(chosen) or (
            len(chosen) and not 0 <= chosen.min() <= chosen.max() < self.n_users
        ):
            raise ChoiceError(
                f"expected distinct user numbers in 0 .. {self.n_users - 1}; found {chosen.tolist()[:10]}"
            )
        number = np.full(self.n_users, -1, np.int32)
        number[chosen] = np.arange(len(chosen), dtype=np.int32)
        kept = self._rows(np.flatnonzero(number[self.user] >= 0))
        return replace(kept, users=self.users.take(pa.array(chosen)), user=number[kept.user])

    def of_user(self, user: str | None = None) -> "ChoiceTable":
        """The choices of one user, by id; None = of the only one.

        Raises:
            ChoiceError: no such user, or several and none named.
        """
        present = np.unique(self.user)
        ids = self.users.take(pa.array(present)).to_pylist()
        shown = ", ".join(map(repr, ids[:_NAMED])) + (", ..." if len(ids) > _NAMED else "")
        if user is None and len(ids) != 1:
            raise ChoiceError(f"{self.source} holds choices of {len(ids)} users ({shown}); name one with user='ID'")
        if user is not None and user not in ids:
            raise ChoiceError(f"{self.source} has no choice of user {user!r}; its users: {shown}")
        return self.of_users(present[[0 if user is None else ids.index(user)]])

    def of_split(self, name: str) -> "ChoiceTable":
        """The choices of one split and the users who have some there (renumbered, in their old order).

        Raises:
            ChoiceError: the source has no `split` column, or no row of that name.
        """
        if self.split is None:
            raise ChoiceError(
                f"{self.source} has no 'split' column, so no split '{name}'; add the column or leave it out"
            )
        if name not in self.split_names:
            raise ChoiceError(f"{self.source} has no split '{name}'; found {', '.join(map(repr, self.split_names))}")
        kept = self.select(self.split == self.split_names.index(name))
        return kept.of_users(np.unique(kept.user))

    @property
    def rows_read(self) -> int:
        """Rows of the source that were read, whether kept or dropped; a gathered ranking counts once."""
        return len(self) + len(self.skipped)

    def repeated(self) -> int:
        """Choices that say again what an earlier one of the same user said, at the same time."""
        columns = (self.user[:, None], self.items, self.rank, np.nan_to_num(self.timestamp, nan=-1.0)[:, None])
        return len(self) - len(np.unique(np.concatenate(columns, axis=1), axis=0))

    def first_time(self) -> str | None:
        """The earliest time as ISO 8601 text, None where no choice has one."""
        return _iso(np.fmin.reduce(self.timestamp)) if len(self) else None

    def last_time(self) -> str | None:
        """The latest."""
        return _iso(np.fmax.reduce(self.timestamp)) if len(self) else None

    def drop(self, causes: Mapping[int, str], *, skip_bad_rows: bool) -> "ChoiceTable":
        """Without some choices that a later step cannot use, noted in `skipped`.

        Args:
            causes: why, by choice number.
            skip_bad_rows: leave them out instead of stopping.

        Raises:
            ChoiceError: some are not to be skipped, or none is left.
        """
        bad = [(int(self.line[choice]), cause) for choice, cause in causes.items()]
        stop_or_skip(self.source, bad, len(self), skip_bad_rows=skip_bad_rows)
        kept = np.ones(len(self), dtype=bool)
        kept[list(causes)] = False
        return replace(self.select(kept), skipped=(*self.skipped, *sorted(bad))) if bad else self

    def _rows(self, rows: NDArray[np.intp]) -> "ChoiceTable":
        columns: dict[str, Any] = {
            name: getattr(self, name)[rows] for name in ("user", "items", "rank", "weight", "timestamp", "line")
        }
        return replace(self, **columns, split=None if self.split is None else self.split[rows])

    def describe(self) -> dict[str, Any]:
        """Counts for people: users, choices, items and prompts in use, ties, rankings, choices per user (quantiles)."""
        real = self.rank >= 0
        counts = np.bincount(self.user, minlength=self.n_users)
        counts = counts[counts > 0]
        tied = (np.diff(self.rank, axis=1) == 0) & real[:, 1:]
        used = np.flatnonzero(np.bincount(self.items[real], minlength=self.n_items))
        quantiles = np.quantile(counts, [0, 0.25, 0.5, 0.75, 1]) if len(counts) else np.zeros(5)
        summary = {
            "users": len(counts),
            "choices": len(self),
            "items": len(used),
            "prompts": len(np.unique(self.item_prompt[used])),
            "ties": int(tied.any(axis=1).sum()),
            "rankings": int((real.sum(axis=1) > 2).sum()),
            "choices_per_user": dict(zip(("min", "q25", "median", "q75", "max"), quantiles.tolist(), strict=True)),
        }
        if self.split is not None:
            summary["splits"] = {name: int((self.split == i).sum()) for i, name in enumerate(self.split_names)}
        if self.skipped:
            summary["skipped"] = len(self.skipped)
            summary["skipped_by_cause"] = dict(Counter(cause for _, cause in self.skipped).most_common())
        return summary


def _iso(seconds: float) -> str | None:
    if np.isnan(seconds):
        return None
    try:
        return datetime.fromtimestamp(float(seconds), UTC).isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError):
        return f"{seconds:g} seconds since 1970"


def _fault(choice: Choice) -> str | None:
    """Why a choice made in code cannot be used, or None."""
    ranks, texts = choice.rank, choice.responses
    if not all(isinstance(text, str) and text.strip() for text in (choice.user_id, choice.prompt, *texts)):
        return "a user id, prompt or response is blank or not text"
    try:
        "".join((choice.user_id, choice.prompt, *texts)).encode()
    except UnicodeEncodeError:
        return "a text holds a lone surrogate, which is not valid Unicode"
    if not 2 <= len(texts) <= MAX_SLOTS or len(ranks) != len(texts):
        return f"{len(texts)} responses with {len(ranks)} ranks; expected one rank each, 2 to {MAX_SLOTS}"
    if len(set(texts)) < len(texts):
        return "a response appears twice"
    if ranks[0] != 0 or any(b - a not in (0, 1) for a, b in pairwise(ranks)):
        return f"ranks {ranks}; expected best first, from 0, in steps of 0 (tie) or 1"
    if not 0 < choice.weight < float("inf"):
        return f"weight {choice.weight}; expected a finite number > 0"
    if choice.timestamp is not None and not np.isfinite(choice.timestamp):
        return f"timestamp {choice.timestamp}; expected finite seconds, or None"
    return None


def _clean(choices: list[Choice], start: int) -> CleanRows:
    sizes = np.array([len(choice.responses) for choice in choices])
    text = pa.large_string()
    time = [np.nan if choice.timestamp is None else choice.timestamp for choice in choices]
    return CleanRows(
        user=pa.array([choice.user_id for choice in choices], text),
        prompt=pa.array([choice.prompt for choice in choices], text),
        split=None,
        weight=np.array([choice.weight for choice in choices], np.float32),
        timestamp=np.array(time, np.float64),
        line=np.arange(start + 1, start + 1 + len(choices), dtype=np.int64),
        response=pa.array([response for choice in choices for response in choice.responses], text),
        owner=np.repeat(np.arange(len(choices)), sizes),
        slot=np.concatenate([np.arange(size) for size in sizes]),
        rank=np.array([rank for choice in choices for rank in choice.rank], np.int8),
    )
