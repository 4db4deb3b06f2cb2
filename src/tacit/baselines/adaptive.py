"""What published methods share as `PreferenceModel`s: they keep a user's choices and fit the user on them.

A method is one file: a config, a network (`AdaptiveNetwork`: how a user is fitted, how items are scored), a model
class of three lines and a `fit_...` function. States, saving, explanations and checks are here.
"""

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from tacit.baselines.pairs import Pairs, pairs_of
from tacit.episodes.batch import ChoiceBatch
from tacit.errors import ChoiceError, ModelFormatError, StateMismatchError
from tacit.files import atomic_folder
from tacit.rewards.explain import centred, explanations
from tacit.rewards.model_folder import adopt_weights, own_tensors, read_config, read_tensors, write_folder
from tacit.rewards.network import Standardizer
from tacit.rewards.protocol import Explanation
from tacit.training.loop import Trainable

__all__ = ["AdaptedUsers", "AdaptiveModel", "AdaptiveNetwork", "Fitted"]

VERSION = 1

Fitted = Mapping[str, Tensor]
"""What a method knows of each user: named tensors, the first axis of each is `users`."""


class AdaptiveNetwork(Trainable, ABC):
    """The maths of one method over STANDARDISED item vectors; a `Predictor` for calibration.

    Attributes:
        has_uncertainty: whether `doubt` returns something.
    """

    has_uncertainty: ClassVar[bool] = False
    ties: bool = False

    def __init__(self, dim: int, config: BaseModel) -> None:
        super().__init__()
        self.dim, self.config = dim, config
        self.standardizer = Standardizer(dim)

    @abstractmethod
    def adapt(self, pairs: Pairs) -> Fitted:
        """Fit every user on the own pairs, of which there may be none; weight 0 is padding and must not matter.

        Called under `no_grad`; methods that take gradient steps switch gradients on themselves.
        """

    @abstractmethod
    def rewards(self, fitted: Fitted, items: Tensor) -> Tensor:
        """Reward at the users' mean: Float[users items] for items Float[items dim] or Float[users items dim]."""

    def preference(self, fitted: Fitted, a: Tensor, b: Tensor, *, temperature: float | Tensor = 1.0) -> Tensor:
        """P(a preferred to b): Float[users pairs], or one for each temperature Float[... 1 1]."""
        return ((self.rewards(fitted, a) - self.rewards(fitted, b)) / temperature).sigmoid()

    def doubt(self, fitted: Fitted, items: Tensor) -> Tensor | None:
        """Standard deviation of the centred reward: Float[users items], None without uncertainty."""
        return None

    def posterior(self, choices: ChoiceBatch) -> Fitted:
        """`adapt` on standardised choices."""
        return self.adapt(pairs_of(choices))


@dataclass(frozen=True)
class AdaptedUsers:
    """States of a batch of users: their choices (raw vectors) and what was fitted on them. Opaque to callers."""

    choices: ChoiceBatch
    fitted: Fitted
    fingerprint: str

    def __len__(self) -> int:
        return self.choices.n_users

    def __getitem__(self, users: Tensor) -> "AdaptedUsers":
        fitted = {name: value[users] for name, value in self.fitted.items()}
        return AdaptedUsers(self.choices.of_users(users), fitted, self.fingerprint)


class _Saved(BaseModel):
    model_config = ConfigDict(extra="forbid")
    kind: str
    version: int = VERSION
    dim: int = Field(ge=1, le=2**20)
    settings: dict[str, Any]
    temperature: float = Field(gt=0)
    notes: dict[str, Any]


@dataclass(frozen=True)
class AdaptiveModel:
    """A fitted method as a `PreferenceModel`; subclasses name their network and config.

    Attributes:
        network: the weights, on the CPU, in evaluation mode; treat as read-only.
        temperature: divides rewards inside probabilities; fitted on validation users.
        notes: plain JSON about how it was fitted.
    """

    network: AdaptiveNetwork
    temperature: float = 1.0
    notes: dict[str, Any] = field(default_factory=dict)
    fingerprint: str = field(init=False, repr=False)

    name: ClassVar[str]
    network_class: ClassVar[type[AdaptiveNetwork]]
    config_class: ClassVar[type[BaseModel]]

    def __post_init__(self) -> None:
        digest = hashlib.blake2b(self.network.config.model_dump_json().encode(), digest_size=8)
        for name, value in sorted(own_tensors(self.network).items()):
            digest.update(name.encode() + value.detach().contiguous().numpy().tobytes())
        object.__setattr__(self, "fingerprint", digest.hexdigest())

    @property
    def dim(self) -> int:
        """Size of an item vector."""
        return self.network.dim

    @property
    def has_uncertainty(self) -> bool:
        """Whether explanations carry doubt."""
        return self.network.has_uncertainty

    def infer(self, choices: ChoiceBatch) -> AdaptedUsers:
        """Fit every user on the own choices."""
        if choices.vectors.shape[-1] != self.dim:
            raise ChoiceError(
                f"choices have item vectors of size {choices.vectors.shape[-1]}, "
                f"this model was trained on size {self.dim}"
            )
        standard = choices.with_vectors(self.network.standardizer(choices.vectors.float()))
        with torch.no_grad():
            return AdaptedUsers(choices, self.network.posterior(standard), self.fingerprint)

    def update(self, state: AdaptedUsers, choices: ChoiceBatch) -> AdaptedUsers:
        """Fit again on all choices."""
        self._check(state)
        return self.infer(_joined(state.choices, choices))

    def forget(self, state: AdaptedUsers, choices: ChoiceBatch) -> AdaptedUsers:
        """Fit again on what is left.

        Raises:
            StateMismatchError: a choice to forget is not among the state's.
        """
        self._check(state)
        return self.infer(_without(state.choices, choices))

    @torch.no_grad()
    def score(self, state: AdaptedUsers, items: Tensor) -> Tensor:
        """Reward at the users' mean: Float[users items]."""
        self._check(state)
        return self.network.rewards(state.fitted, self._items(items))

    @torch.no_grad()
    def prefer(self, state: AdaptedUsers, a: Tensor, b: Tensor) -> Tensor:
        """P(a chosen over b): Float[users pairs]."""
        self._check(state)
        return self.network.preference(state.fitted, self._items(a), self._items(b), temperature=self.temperature)

    @torch.no_grad()
    def explain(self, state: AdaptedUsers, items: Tensor) -> list[Explanation]:
        """Per user, the items (Float[items dim]) whose centred reward moved most against the prior."""
        self._check(state)
        prior = self.infer(ChoiceBatch.empty(len(state), self.dim))
        standard = self._items(items)
        moved = centred(self.network.rewards(state.fitted, standard))
        return explanations(
            moved - centred(self.network.rewards(prior.fitted, standard)), self.network.doubt(state.fitted, standard)
        )

    def save(self, folder: str | PathLike[str]) -> None:
        """Write `config.json` and `model.safetensors` atomically."""
        saved = _Saved(
            kind=self.name, dim=self.dim, settings=self.network.config.model_dump(mode="json"),
            temperature=self.temperature, notes=self.notes,
        )  # fmt: skip
        with atomic_folder(folder) as temporary:
            write_folder(temporary, saved, own_tensors(self.network))

    @classmethod
    def load(cls, folder: str | PathLike[str]) -> Self:
        """Read a saved folder strictly.

        Raises:
            ModelFormatError: truncated, altered, of another version, with missing, extra or NaN weights.
        """
        path = Path(folder)
        saved = read_config(path, cls.name, _Saved, version=VERSION, wrote="save()")
        try:
            config = cls.config_class.model_validate(saved.settings)
        except ValueError as error:
            raise ModelFormatError(
                f"{path / 'config.json'}: settings: {' '.join(str(error).split())[:200]}; copy or train the model again"
            ) from None
        if not math.isfinite(saved.temperature):
            raise ModelFormatError(f"{path / 'config.json'}: temperature is not finite; copy or train the model again")
        with torch.device("meta"):
            network = cls.network_class(saved.dim, config)
        file = path / "model.safetensors"
        adopt_weights(network, read_tensors(file), file)
        return cls(network.eval(), saved.temperature, saved.notes)

    def _items(self, items: Tensor) -> Tensor:
        if items.shape[-1] != self.dim:
            raise ChoiceError(f"item vectors have size {items.shape[-1]}, this model was trained on size {self.dim}")
        return self.network.standardizer(items.float())

    def _check(self, state: AdaptedUsers) -> None:
        if state.fingerprint != self.fingerprint:
            raise StateMismatchError(
                f"this user state was made by model {state.fingerprint}, "
                f"not by this one ({self.fingerprint}); infer it again from the choices"
            )


def _joined(first: ChoiceBatch, second: ChoiceBatch) -> ChoiceBatch:
    """The choices of both, of the same users; times and keys are not kept."""
    slots = max(first.vectors.shape[2], second.vectors.shape[2])
    wide = [_widened(batch, slots) for batch in (first, second)]
    return ChoiceBatch(
        torch.cat([batch.vectors for batch in wide], 1),
        torch.cat([batch.rank for batch in wide], 1),
        torch.cat([batch.weight for batch in wide], 1),
    )


def _widened(batch: ChoiceBatch, slots: int) -> ChoiceBatch:
    extra = slots - batch.vectors.shape[2]
    vectors = torch.nn.functional.pad(batch.vectors, (0, 0, 0, extra))
    return ChoiceBatch(vectors, torch.nn.functional.pad(batch.rank, (0, extra), value=-1), batch.weight)


def _without(kept: ChoiceBatch, gone: ChoiceBatch) -> ChoiceBatch:
    """`kept` with one equal choice struck out (weight 0) for each real choice of `gone`."""
    slots = max(kept.vectors.shape[2], gone.vectors.shape[2])
    kept, gone = _widened(kept, slots), _widened(gone, slots)
    weight = kept.weight.clone()
    for user, choice in (gone.weight > 0).nonzero().tolist():
        real = (gone.rank[user, choice] >= 0).unsqueeze(-1)
        same = (kept.rank[user] == gone.rank[user, choice]).all(-1)
        same &= ((kept.vectors[user] == gone.vectors[user, choice]) | ~real).all(-1).all(-1)
        same &= weight[user] > 0
        if not bool(same.any()):
            raise StateMismatchError("a choice to forget is not in this state; forget only choices it was made from")
        weight[user, same.nonzero()[0, 0]] = 0
    return ChoiceBatch(kept.vectors, kept.rank, weight)
