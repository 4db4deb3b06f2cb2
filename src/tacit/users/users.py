"""`Users`: many users at once, each operation batched over all of them."""

from collections.abc import Iterator, Sequence
from os import PathLike
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from tacit.choices.validation import read_item
from tacit.embedders.table import item_vectors
from tacit.encoders.state import UserStates
from tacit.episodes.from_table import choice_batch
from tacit.errors import ChoiceError
from tacit.events import Listener, counting
from tacit.users.profiles import read_profiles, write_profiles
from tacit.users.user import User, UserModel, read_rows

__all__ = ["Users"]

_CHOICES_AT_ONCE = 4096


class Users:
    """Users of one model, addressed by number or id.

    Attributes:
        ids: by number, all different.
        states: their evidence.
    """

    def __init__(self, model: UserModel, states: UserStates, ids: Sequence[str]) -> None:
        self.model, self.states, self.ids = model, states, tuple(ids)
        self._number = {name: number for number, name in enumerate(self.ids)}

    @classmethod
    def infer(cls, model: UserModel, rows: Any, *, on_event: Listener | None = None) -> Self:
        """Every user of some rows; memory is for a few thousand choices' vectors at a time.

        `on_event` hears how many items are embedded and users inferred.
        """
        table = read_rows(rows)
        present = np.unique(table.user)
        table = table.of_users(present)
        vectors = item_vectors(table, model.reader, progress=counting(on_event, "embedding"))
        told = counting(on_event, "inferring users")
        counts = np.bincount(table.user, minlength=len(present))
        parts, start = [], 0
        while start < len(present):
            stop = start + 1
            while stop < len(present) and (stop + 1 - start) * counts[start : stop + 1].max() <= _CHOICES_AT_ONCE:
                stop += 1
            batch = choice_batch(table.of_users(np.arange(start, stop)), vectors)
            parts.append(model.update(model.prior(stop - start), batch))
            start = stop
            if told is not None:
                told(start, len(present))
        return cls(model, _stacked(parts), table.users.to_pylist())

    @classmethod
    def load(cls, model: UserModel, path: str | PathLike[str]) -> Self:
        """What `save` wrote."""
        ids, states = read_profiles(path)
        model.posterior(states[torch.tensor([0])])  # refuses the states of another model
        return cls(model, states, ids)

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[User]:
        return (self[number] for number in range(len(self)))

    def __getitem__(self, user: int | str) -> User:
        """One user, by number or id.

        Raises:
            ChoiceError: no such user.
        """
        number = self._number.get(user) if isinstance(user, str) else user
        if number is None or not -len(self) <= number < len(self):
            shown = ", ".join(map(repr, self.ids[:5])) + (", ..." if len(self) > 5 else "")
            raise ChoiceError(f"no user {user!r} among {len(self)}; they are {shown}")
        return User(self.model, self.states[torch.tensor([number % len(self)])], self.ids[number])

    def score(self, messages: Any, answers: Sequence[Any]) -> Tensor:
        """Rewards of answers to one prompt in nats, Float[users answers], at posterior means."""
        vectors = self.model.vectors([read_item(messages, answer) for answer in answers])
        return self.model.reward(self.model.posterior(self.states).mean, vectors)

    def prefer(self, messages: Any, a: Any, b: Any) -> Tensor:
        """P(answer a over answer b), Float[users]."""
        vectors = self.model.vectors([read_item(messages, a), read_item(messages, b)])
        return self.model.preference(self.model.posterior(self.states), vectors[:1], vectors[1:])[:, 0]

    def save(self, path: str | PathLike[str]) -> None:
        """Write all profiles as one Parquet file, atomically."""
        write_profiles(path, self.ids, self.states)


def _stacked(parts: Sequence[UserStates]) -> UserStates:
    """States of several batches as one, shorter users padded with rows of weight 0."""
    first, longest = parts[0], max(part.rows.shape[1] for part in parts)
    rows = torch.cat([pad(part.rows, (0, 0, 0, longest - part.rows.shape[1])) for part in parts])
    weight = torch.cat([pad(part.weight, (0, longest - part.weight.shape[1])) for part in parts])
    keys = None if any(part.keys is None for part in parts) else tuple(k for part in parts for k in part.keys or ())
    clock = torch.cat([part.clock for part in parts])
    return UserStates(rows, weight, clock, keys, first.additive, first.fingerprint, first.half_life)
