"""A user from a few choices, and answers ranked for that user: what `tacit infer` and `tacit score` do.

    model = tacit.RewardModel.load("model")
    user = infer_user(model, tacit.read_choices("choices.jsonl"))
    ranked = score_items(model, user.state, [("Say hello.", "Hi!"), ("Say hello.", "Good day to you.")])

The state goes to a file and back by `user.save("profile.json")` and `load_profile("profile.json")`.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from tacit.choices.table import ChoiceTable
from tacit.embedders import Progress
from tacit.embedders.embedder import Item
from tacit.encoders.state import UserStates
from tacit.episodes.from_table import choice_batch
from tacit.errors import ChoiceError, ConfigError, ModelFormatError, StateMismatchError
from tacit.files import write_text
from tacit.rewards.model import RewardModel
from tacit.workflows.items import embedder_of, item_vectors, text_vectors

__all__ = ["InferredUser", "ScoredItem", "infer_user", "load_profile", "score_items"]

_NAMED = 5


@dataclass(frozen=True)
class InferredUser:
    """A user as the model sees them after some choices.

    Attributes:
        user_id: as in the choices.
        choices: how many choices the state is made from.
        state: the evidence, one user; what a profile holds.
        doubt: mean over latent dimensions of the posterior's standard deviation as a share of the population prior's
            (1 = nothing learnt); None for a model without uncertainty.
        information: KL divergence of the posterior from the prior, in nats; None likewise, and for a mixture prior.
        moved: the items of the user's own choices, most moved first: `{"prompt", "response", "shift", "doubt"}`, the
            shift of the reward against the population's, centred over these items.
    """

    user_id: str
    choices: int
    state: UserStates
    doubt: float | None
    information: float | None
    moved: list[dict[str, Any]]

    def save(self, path: str | PathLike[str]) -> None:
        """Write the profile, a JSON file, atomically."""
        write_text(path, self.state.to_json() + "\n")

    def to_json(self) -> dict[str, Any]:
        """Everything but the state as plain values."""
        return {
            "user": self.user_id,
            "choices": self.choices,
            "doubt": self.doubt,
            "information": self.information,
            "moved": self.moved,
        }


@dataclass(frozen=True)
class ScoredItem:
    """An item with its reward for one user and for the population, and its place (from 1) among those of its prompt.

    Rewards are in nats; only differences between responses to one prompt mean something.
    """

    prompt: str
    response: str
    score: float
    rank: int
    population_score: float
    population_rank: int


def infer_user(
    model: RewardModel, table: ChoiceTable, user: str | None = None, *, progress: Progress | None = None
) -> InferredUser:
    """Infer one user from all of their choices in `table`, in one forward pass.

    Args:
        model: the reward model; its embedder makes the vectors.
        table: choices of exactly one user, or of several with `user` naming one.
        user: the user's id.
        progress: called while items are embedded.

    Raises:
        ChoiceError: no such user, or several and none named.
        EmbeddingError, StateMismatchError: the model's embedder is missing or another one stands under its name.
    """
    own = _only(table, user)
    vectors = item_vectors(own, embedder_of(model), progress=progress)
    state = model.infer(choice_batch(own, vectors))
    posterior, prior = model.posterior(state), model.posterior(model.prior())
    doubt = information = None
    if posterior.scale is not None and prior.scale is not None:
        doubt = float((posterior.scale / prior.scale).mean())
        with suppress(ConfigError):  # a mixture of several Gaussians has no divergence in closed form
            information = float(posterior.kl(prior))
    used = _used_items(own)
    moved = [
        dict(zip(("prompt", "response"), own.item(int(used[entry["index"]])), strict=True))
        | {"shift": entry["shift"], "doubt": entry["doubt"]}
        for entry in model.explain(state, vectors[used])[0]["items"]
    ]
    return InferredUser(str(own.users[0].as_py()), len(own), state, doubt, information, moved)


def load_profile(path: str | PathLike[str]) -> UserStates:
    """The state that `InferredUser.save` wrote.

    Raises:
        ModelFormatError: the file is no profile, or truncated, altered or of another version.
    """
    try:
        return UserStates.from_json(Path(path).read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise ModelFormatError(f"{path}: not a text file, so no profile; make one with `tacit infer`") from None
    except ModelFormatError as error:
        raise ModelFormatError(f"{path}: {error}") from None


def score_items(
    model: RewardModel, state: UserStates, items: Sequence[Item], *, progress: Progress | None = None
) -> list[ScoredItem]:
    """Rank (prompt, response) texts for one user: prompts in their order, the responses to each best first.

    `progress` is called while items are embedded.

    Raises:
        StateMismatchError: another model made the state, or it holds several users.
        ModelFormatError: the state gives rewards that are no finite numbers.
        ChoiceError: no items.
        EmbeddingError: the model was trained on vectors in the data, or its embedder is missing.
    """
    if len(state) != 1:
        raise StateMismatchError(
            f"expected the state of one user, found {len(state)}; pick one with state[tensor([i])]"
        )
    if not items:
        raise ChoiceError("no items to score; give at least one prompt with a response")
    model.posterior(state)  # refuses a state of another model before anything is embedded
    vectors = text_vectors(items, embedder_of(model), progress=progress)
    own, everyone = model.score(state, vectors)[0], model.score(model.prior(), vectors)[0]
    if not bool(own.isfinite().all()):
        raise ModelFormatError("the profile gives rewards that are not finite, so it is damaged; infer it again")
    prompts: dict[str, list[int]] = {}
    for number, (prompt, _) in enumerate(items):
        prompts.setdefault(prompt, []).append(number)
    ranked = []
    for prompt, numbers in prompts.items():
        mine, theirs = (sorted(numbers, key=scores.tolist().__getitem__, reverse=True) for scores in (own, everyone))
        population = {n: place for place, n in enumerate(theirs, start=1)}
        ranked += [
            ScoredItem(prompt, items[n][1], float(own[n]), place, float(everyone[n]), population[n])
            for place, n in enumerate(mine, start=1)
        ]
    return ranked


def _only(table: ChoiceTable, user: str | None) -> ChoiceTable:
    """The choices of the one user meant."""
    present = np.unique(table.user)
    ids = table.users.take(present).to_pylist()
    shown = ", ".join(map(repr, ids[:_NAMED])) + (", ..." if len(ids) > _NAMED else "")
    if user is None and len(ids) != 1:
        raise ChoiceError(f"{table.source} holds choices of {len(ids)} users ({shown}); name one with user=ID")
    if user is not None and user not in ids:
        raise ChoiceError(f"{table.source} has no choice of user {user!r}; its users: {shown}")
    return table.of_users(present[[0 if user is None else ids.index(user)]])


def _used_items(table: ChoiceTable) -> np.ndarray:
    """Int64[used]: item numbers that occur in the table's choices."""
    return np.unique(table.items[table.rank >= 0]).astype(np.int64)
