"""What published methods share as `PreferenceModel`s: they keep a user's choices and fit the user on them.

A method is one file: a config, a network (`AdaptiveNetwork`: how a user is fitted, how items are scored) and a model
class that registers with what the benchmark needs to know. Fitting, states, saving, explanations and checks are here.
"""

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from tacit.baselines.method import Kind, Settings
from tacit.baselines.pairs import Pairs, pairs_of
from tacit.choices.index import ChoiceIndex
from tacit.episodes.batch import ChoiceBatch
from tacit.errors import ChoiceError, ModelFormatError, StateMismatchError
from tacit.events import Listener
from tacit.files import atomic_folder
from tacit.rewards.episodic_fit import FitData, fit_data, fit_network, seeded_modules
from tacit.rewards.model_folder import adopt_weights, own_tensors, read_config, read_tensors, write_folder
from tacit.rewards.network import Standardizer
from tacit.rewards.protocol import Explanation, centred, explanations
from tacit.training.config import TrainingConfig
from tacit.training.loop import Trainable

__all__ = ["AdaptedUsers", "AdaptiveModel", "AdaptiveNetwork", "Fitted", "Run"]

VERSION = 2

Fitted = Mapping[str, Tensor]
"""What a method knows of each user: named tensors, the first axis of each is `users`."""


class AdaptiveNetwork(Trainable, ABC):
    """The maths of one method over STANDARDISED item vectors; a `Predictor` for calibration.

    Args:
        dim: size of an item vector.
        config: the method's settings.
        n_users: training users, for methods that keep a row of each.

    Attributes:
        has_uncertainty: whether `doubt` returns something.
    """

    has_uncertainty: ClassVar[bool] = False
    ties: bool = False

    def __init__(self, dim: int, config: BaseModel, n_users: int = 1) -> None:
        super().__init__()
        self.dim, self.config, self.n_users = dim, config, n_users
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

    def begin(self, data: FitData) -> None:
        """Called before training, for starts that are read off the data."""


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


class Run(NamedTuple):
    """What a fit is called in events, where it keeps its files while it runs, and who hears of it."""

    name: str
    folder: Path | None = None
    on_event: Listener | None = None

    def emit(self, event: str, step: int, steps: int, **more: float) -> None:
        """Tell the listener, if there is one."""
        if self.on_event:
            self.on_event({"event": event, "step": step, "name": self.name, "steps": steps, **more})


class _Saved(BaseModel):
    model_config = ConfigDict(extra="forbid")
    kind: str
    version: int = VERSION
    dim: int = Field(ge=1, le=2**20)
    n_users: int = Field(ge=1, le=10**9)
    settings: dict[str, Any]
    temperature: float = Field(gt=0)
    notes: dict[str, Any]


@dataclass(frozen=True)
class AdaptiveModel:
    """A fitted method as a `PreferenceModel` and a `Method` of the benchmark; subclasses name network and config.

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
    label: ClassVar[str]
    kind: ClassVar[Kind]
    network_class: ClassVar[type[Any]]
    config_class: ClassVar[type[Any]]
    grid: ClassVar[tuple[Settings, ...]]
    training: ClassVar[Mapping[str, Any]] = {}
    """Where a method's training departs from the defaults of `TrainingConfig`, unless it is told how to train."""

    def __post_init__(self) -> None:
        digest = hashlib.blake2b(self.network.config.model_dump_json().encode(), digest_size=8)
        for name, value in sorted(own_tensors(self.network).items()):
            digest.update(name.encode() + value.detach().contiguous().numpy().tobytes())
        object.__setattr__(self, "fingerprint", digest.hexdigest())

    @classmethod
    def fit(
        cls,
        choices: ChoiceIndex,
        vectors: Tensor,
        *,
        validation: ChoiceIndex,
        target_groups: Tensor | None = None,
        config: Any = None,
        training: TrainingConfig | None = None,
        name: str | None = None,
        folder: Path | None = None,
        on_event: Listener | None = None,
        **told: Any,
    ) -> Self:
        """Fit on the users of `choices`; stop and calibrate on those of `validation`.

        Args:
            choices, vectors, validation, target_groups: as for `fit_data`.
            config: an instance of `config_class`; None = its defaults.
            name, folder, on_event: as for `fit_network`.
            told: what an `upper` method knows besides.

        Raises:
            ChoiceError: too few users, or vectors that do not fit.
        """
        data = fit_data(choices, vectors, validation=validation, target_groups=target_groups)
        run = Run(name or cls.name, folder, on_event)
        return cls.fitted(data, config or cls.config_class(), training or TrainingConfig(**cls.training), run, **told)

    @classmethod
    def fitted(cls, data: FitData, config: Any, training: TrainingConfig, run: Run, **told: Any) -> Self:
        """How the method is fitted to checked data: by episodes, unless a subclass says otherwise."""
        with seeded_modules(training.seed):
            network = cls.network_class(data.raw.shape[1], config, data.choices.n_users)
        network.begin(data)
        return cls.trained(network, data, training, run)

    @classmethod
    def trained(cls, network: Any, data: FitData, training: TrainingConfig, run: Run) -> Self:
        """The model of a network that is still to be trained."""
        result, temperature = fit_network(
            network, data, training, settings=cls.name + network.config.model_dump_json(), name=run.name,
            folder=run.folder, on_event=run.on_event,
        )  # fmt: skip
        steps = {"steps": result.steps, "best_step": result.best_step, "seconds": result.seconds, "seed": training.seed}
        best = {f"validation_{key}": value for key, value in result.best.items()}
        return cls(network, temperature, steps | best)

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
        return self.infer(state.choices.join(choices))

    def forget(self, state: AdaptedUsers, choices: ChoiceBatch) -> AdaptedUsers:
        """Fit again on what is left.

        Raises:
            StateMismatchError: a choice to forget is not among the state's.
        """
        self._check(state)
        return self.infer(state.choices.without(choices))

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
            kind=self.name, dim=self.dim, n_users=self.network.n_users, notes=self.notes,
            settings=self.network.config.model_dump(mode="json"), temperature=self.temperature,
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
            network = cls.network_class(saved.dim, config, saved.n_users)
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
