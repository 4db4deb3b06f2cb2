"""The one contract that evaluation, audit, elicitation and serving know a model by."""

from os import PathLike
from typing import Any, ClassVar, Protocol, Self, TypeVar, runtime_checkable

from torch import Tensor

from tacit.episodes.batch import ChoiceBatch

__all__ = ["Explanation", "PreferenceModel", "centred", "explanations"]

State = TypeVar("State")

Explanation = dict[str, Any]
"""What `explain` returns for one user: `{"items": [{"index", "shift", "doubt"}, ...]}`, most moved first."""


@runtime_checkable
class PreferenceModel(Protocol[State]):
    """Something that infers users from choices and scores items for them.

    Everything is batched over users; a state is opaque to callers and answers `len(state)` (users) and
    `state[Int64[chosen]]` (a sub-batch). Item vectors are raw (as the embedder made them): a model
    standardises them itself.
    """

    name: ClassVar[str]

    @property
    def has_uncertainty(self) -> bool:
        """Whether states carry doubt."""
        ...

    def infer(self, choices: ChoiceBatch) -> State:
        """One state per user from choices (k may be 0, and may differ by user through weights)."""
        ...

    def update(self, state: State, choices: ChoiceBatch) -> State:
        """The states after more choices, equal to `infer` on all of them."""
        ...

    def forget(self, state: State, choices: ChoiceBatch) -> State:
        """The states without these choices, equal to never having seen them."""
        ...

    def score(self, state: State, items: Tensor) -> Tensor:
        """Reward at the posterior mean: Float[users items] for items Float[items dim] or Float[users items dim]."""
        ...

    def prefer(self, state: State, a: Tensor, b: Tensor) -> Tensor:
        """P(a chosen over b), averaged over the posterior: Float[users pairs] for Float[users pairs dim] (or
        Float[pairs dim], shared by all users). `prefer(a, b) + prefer(b, a)` = 1 minus the tie mass.
        """
        ...

    def explain(self, state: State, items: Tensor) -> list[Explanation]:
        """Per user, the items (Float[items dim]) whose reward moved most against the prior, with doubt."""
        ...

    def save(self, folder: str | PathLike[str]) -> None:
        """Write `config.json` and `model.safetensors` atomically."""
        ...

    @classmethod
    def load(cls, folder: str | PathLike[str]) -> Self:
        """Read a saved folder strictly: unknown keys, missing or extra weights are errors."""
        ...


def centred(scores: Tensor) -> Tensor:
    """Float[... items] less their mean: what matters is an item against the others."""
    return scores - scores.mean(-1, keepdim=True)


def explanations(shift: Tensor, doubt: Tensor | None) -> list[Explanation]:
    """Per user, items by how far they moved: shift Float[users items], doubt Float[users items] or None."""
    reports = []
    for user in range(len(shift)):
        order = shift[user].abs().argsort(descending=True).tolist()
        rows = [
            {"index": i, "shift": shift[user, i].item(), "doubt": None if doubt is None else doubt[user, i].item()}
            for i in order
        ]
        reports.append({"items": rows})
    return reports
