"""`User`: the object that callers hold. Evidence, a posterior, and what follows from it for answers."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from os import PathLike
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from tacit.choices.choice import Choice
from tacit.choices.readers import read_choices
from tacit.choices.table import ChoiceTable
from tacit.choices.validation import read_item
from tacit.embedders.embedder import Embedder, Item, SuppliedVectors
from tacit.embedders.table import item_vectors
from tacit.encoders.posterior import LatentPosterior
from tacit.encoders.state import UserStates
from tacit.episodes.batch import ChoiceBatch
from tacit.episodes.from_table import choice_batch
from tacit.errors import ChoiceError, ConfigError, ModelFormatError
from tacit.events import Progress
from tacit.users.profiles import read_profile, write_profile

__all__ = ["Answer", "Moved", "User", "UserModel", "batch_of", "read_rows"]


class UserModel(Protocol):
    """What a user needs of a model; `RewardModel` is one."""

    @property
    def reader(self) -> Embedder:
        """What makes item vectors."""
        ...

    def vectors(self, items: Sequence[Item], *, progress: Progress | None = None) -> Tensor:
        """Float32[items dim] of (prompt key, response) items."""
        ...

    def prior(self, users: int = 1) -> UserStates:
        """Users without a choice."""
        ...

    def update(self, state: UserStates, choices: ChoiceBatch) -> UserStates:
        """The states after more choices."""
        ...

    def forget(self, state: UserStates, choices: ChoiceBatch) -> UserStates:
        """The states without these choices."""
        ...

    def posterior(self, state: UserStates) -> LatentPosterior:
        """q(z | choices), Float[users latent]."""
        ...

    def reward(self, z: Tensor, items: Tensor) -> Tensor:
        """Float[users items] at z, Float[users latent]."""
        ...

    def preference(self, posterior: LatentPosterior, a: Tensor, b: Tensor) -> Tensor:
        """P(a chosen over b), averaged over the posterior: Float[users pairs]."""
        ...

    def explain(self, state: UserStates, items: Tensor) -> list[dict[str, Any]]:
        """Per user, the items whose reward moved most against the prior."""
        ...


@dataclass(frozen=True)
class Answer:
    """An answer with its reward in nats and its place (from 1), for the user and for the population.

    Only differences between answers to one prompt mean something.
    """

    text: str
    score: float
    rank: int
    population_score: float
    population_rank: int


@dataclass(frozen=True)
class Moved:
    """An item whose reward differs from the population's.

    Attributes:
        prompt: its key.
        shift: of the reward in nats, against the population, centred over the items that were asked about.
        doubt: standard deviation of the shift under the posterior; None for a model without uncertainty.
    """

    prompt: str
    answer: str
    shift: float
    doubt: float | None


class User:
    """What is known of one user under one model. Rows are given in any form that `read_choices` takes.

    Attributes:
        model: whose evidence and rewards these are.
        id: the user's id, empty for a user who has none.
        state: the evidence, one user; what a profile holds.
    """

    def __init__(self, model: UserModel, state: UserStates, id: str = "") -> None:  # noqa: A002
        if len(state) != 1:
            raise ConfigError(f"expected the state of one user, found {len(state)}; hold several as Users")
        self.model, self.id = model, id
        self.state = state
        self._posterior: LatentPosterior | None = None

    @classmethod
    def infer(cls, model: UserModel, rows: Any = None, user: str | None = None) -> Self:
        """Infer a user from all of their rows, in one forward pass; None = no rows."""
        found = cls(model, model.prior(), user or "")
        if rows is not None:
            found.add(rows)
        return found

    @classmethod
    def load(cls, model: UserModel, path: str | PathLike[str], user: str | None = None) -> Self:
        """What `save` wrote, or one user of a file of `Users.save`.

        Raises:
            ModelFormatError: no profile, truncated, altered or of a newer version.
            StateMismatchError: another model made it.
        """
        name, state = read_profile(path, user)
        found = cls(model, state, name)
        _ = found.posterior  # refuses the state of another model
        return found

    # -- evidence ------------------------------------------------------------------------------------------------------

    def add(self, rows: Any) -> None:
        """Take in more choices of this user, equal to having inferred from all at once.

        Raises:
            ChoiceError: rows that cannot be read, or of several users where this one has no id.
        """
        table = self._own(rows)
        self.update(batch_of(self.model, table))
        self.id = self.id or str(table.users[0].as_py())

    def update(self, choices: ChoiceBatch) -> None:
        """The same of choices whose item vectors are at hand, [1 choices slots dim]."""
        self._set(self.model.update(self.state, choices))

    def forget(self, rows: Any) -> None:
        """Take choices out again, as if they had never been made.

        Raises:
            StateMismatchError: a choice that was never added.
        """
        self._set(self.model.forget(self.state, batch_of(self.model, self._own(rows))))

    def merge(self, other: "User") -> None:
        """Take in what another device knows of this user; a choice known to both is an error."""
        self._set(self.state.merge(other.state))

    def age(self, now: float) -> None:
        """Move the clock to `now`, in seconds; choices fade where the model has a half-life."""
        self._set(self.state.age(now))

    @property
    def choices(self) -> int:
        """How many choices are inside."""
        if self.state.keys is not None:
            return len(self.state.keys[0])
        return int((self.state.weight > 0).sum())

    # -- what is known -------------------------------------------------------------------------------------------------

    @property
    def posterior(self) -> LatentPosterior:
        """q(z | choices), [1 latent]; computed once and kept until evidence changes."""
        if self._posterior is None:
            self._posterior = self.model.posterior(self.state)
        return self._posterior

    def draws(self, count: int, seed: int = 0) -> Tensor:
        """Joint draws of z, Float[count latent], the same for the same seed."""
        generator = torch.Generator().manual_seed(seed)
        if self.posterior.scale is None:
            return self.posterior.mean.expand(count, -1)
        z, log_weight = (drawn[:, 0] for drawn in self.posterior.draws(count, generator))
        if len(z) == count and bool((log_weight == log_weight[0]).all()):
            return z
        return z[log_weight.exp().multinomial(count, replacement=True, generator=generator)]

    @property
    def doubt(self) -> float | None:
        """Mean posterior standard deviation as a share of the prior's: 1 = nothing learnt; None without uncertainty."""
        prior = self.model.posterior(self.model.prior())
        if self.posterior.scale is None or prior.scale is None:
            return None
        return float((self.posterior.scale / prior.scale).mean())

    @property
    def information(self) -> float | None:
        """KL divergence of the posterior from the prior in nats; None without uncertainty or for a mixture prior."""
        prior = self.model.posterior(self.model.prior())
        if self.posterior.scale is not None and prior.scale is not None:
            with suppress(ConfigError):
                return float(self.posterior.kl(prior))
        return None

    # -- answers -------------------------------------------------------------------------------------------------------

    def score(self, messages: Any, answers: Sequence[Any]) -> list[Answer]:
        """Answers to one prompt, best first for this user; prompt and answers in any form of a conversation.

        Raises:
            ChoiceError: no answers, or one that is no text.
        """
        items = [read_item(messages, answer) for answer in answers]
        return self.rank({items[0][0]: items} if items else {})[items[0][0]]

    def rank(self, items: Mapping[str, Sequence[Item]], *, progress: Progress | None = None) -> dict[str, list[Answer]]:
        """The same for many prompts at once, (prompt key, answer) items by prompt."""
        flat = [item for some in items.values() for item in some]
        if not flat:
            raise ChoiceError("no items to score; give at least one prompt with an answer")
        z = torch.cat([self.posterior.mean, self.model.posterior(self.model.prior()).mean])
        rewards = self.model.reward(z, self.model.vectors(flat, progress=progress))
        if not bool(rewards[0].isfinite().all()):
            raise ModelFormatError("the profile gives rewards that are not finite, so it is damaged; infer it again")
        ranked, start = {}, 0
        for prompt, some in items.items():
            own, everyone = rewards[:, start : start + len(some)].tolist()
            mine, theirs = (sorted(range(len(some)), key=side.__getitem__, reverse=True) for side in (own, everyone))
            place = {number: rank for rank, number in enumerate(theirs, start=1)}
            ranked[prompt] = [
                Answer(some[number][1], own[number], rank, everyone[number], place[number])
                for rank, number in enumerate(mine, start=1)
            ]
            start += len(some)
        return ranked

    def prefer(self, messages: Any, a: Any, b: Any) -> float:
        """P(the user prefers answer a to answer b), averaged over the posterior."""
        vectors = self.model.vectors([read_item(messages, a), read_item(messages, b)])
        return float(self.model.preference(self.posterior, vectors[:1], vectors[1:])[0, 0])

    def explain(self, rows: Any) -> list[Moved]:
        """What of some items the user likes more and less than the population does, most moved first.

        Args:
            rows: (messages, answer) pairs, or choices, whose answers are then taken.
        """
        items, vectors = self._items(rows)
        if not items:
            raise ChoiceError("no items to explain; give at least one prompt with an answer")
        moved = self.model.explain(self.state, vectors)[0]["items"]
        return [Moved(*items[each["index"]], shift=each["shift"], doubt=each["doubt"]) for each in moved]

    def save(self, path: str | PathLike[str]) -> None:
        """Write the profile, a JSON file, atomically."""
        write_profile(path, self.id, self.state)

    def __repr__(self) -> str:
        return f"User({self.id!r}, {self.choices} choices)"

    # -- inside --------------------------------------------------------------------------------------------------------

    def _set(self, state: UserStates) -> None:
        self.state, self._posterior = state, None

    def _own(self, rows: Any) -> ChoiceTable:
        return read_rows(rows, self.id).of_user(self.id or None)

    def _items(self, rows: Any) -> tuple[list[Item], Tensor]:
        if isinstance(rows, Sequence) and not isinstance(rows, str) and rows and isinstance(rows[0], tuple):
            items = [read_item(messages, answer) for messages, answer in rows]
            return items, self.model.vectors(items)
        table = self._own(rows)
        used = sorted({int(item) for item in table.items[table.rank >= 0]})
        return [table.item(item) for item in used], item_vectors(table, self.model.reader)[torch.tensor(used)]


def read_rows(rows: Any, user: str = "") -> ChoiceTable:
    """A table of rows in any form; rows without a `user_id` are of `user`."""
    if isinstance(rows, ChoiceTable):
        return rows
    if isinstance(rows, Choice):
        return ChoiceTable.from_choices([rows])
    rows = [rows] if isinstance(rows, dict) else rows
    if isinstance(rows, Sequence) and not isinstance(rows, str) and rows and isinstance(rows[0], Choice):
        return ChoiceTable.from_choices(rows)
    nameless = isinstance(rows, list) and not any("user_id" in row for row in rows if isinstance(row, dict))
    return read_choices(rows, user=(user or "user") if nameless else None)


def batch_of(model: UserModel, table: ChoiceTable) -> ChoiceBatch:
    """All choices of a table as vectors, users in the table's order."""
    own = table.item_vectors is not None and isinstance(model.reader, SuppliedVectors)
    vectors = torch.from_numpy(table.item_vectors) if own else item_vectors(table, model.reader)
    return choice_batch(table, vectors)
