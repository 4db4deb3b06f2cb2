"""`RewardModel`: a reward that follows the user. NP-BTL as a `PreferenceModel`."""

import hashlib
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

import torch
from torch import Tensor

from tacit.embedders.embedder import Embedder, Item
from tacit.embedders.table import text_vectors
from tacit.encoders.posterior import LatentPosterior
from tacit.encoders.state import UserStates
from tacit.episodes.batch import ChoiceBatch
from tacit.errors import ChoiceError, EmbeddingError, StateMismatchError
from tacit.events import Listener, Progress
from tacit.rewards.protocol import Explanation, centred, explanations
from tacit.rewards.storage import TrainedReward
from tacit.users.user import User
from tacit.users.users import Users

__all__ = ["RewardModel"]

CHOICES_AT_ONCE = 512
"""Choices in one forward pass: as many as stay in the cache, so that thousands of users take neither more time each
nor more memory than a few."""


@dataclass(frozen=True)
class RewardModel(TrainedReward):
    """A trained encoder and head over raw item vectors: infers users, scores items, saves itself."""

    def __post_init__(self) -> None:
        exact = torch.nn.ModuleDict({"standardizer": self.network.standardizer, "encoder": self.network.encoder})
        object.__setattr__(self, "_exact", deepcopy(exact).double().eval().requires_grad_(False))
        object.__setattr__(self, "fingerprint", self._fingerprint())

    _readers: list[Embedder] = field(default_factory=list, init=False, repr=False, compare=False)
    fingerprint: str = field(init=False, repr=False)
    """Of what user states depend on: encoder, standardisation, embedder."""

    @property
    def dim(self) -> int:
        """Size of an item vector."""
        return self.network.dim

    @property
    def has_uncertainty(self) -> bool:
        """Whether posteriors carry doubt."""
        return self.network.encoder.has_uncertainty

    @property
    def half_life(self) -> float | None:
        """Seconds after which a choice counts half, None where choices do not age."""
        chosen = self.network.config.half_life
        return None if chosen == "fit" else chosen

    # -- users ---------------------------------------------------------------------------------------------------------

    def prior(self, users: int = 1) -> UserStates:
        """Users of whom nothing is known."""
        encoder = self.network.encoder
        return UserStates.prior(
            users,
            encoder.evidence_dim,
            additive=encoder.additive,
            fingerprint=self.fingerprint,
            half_life=self.half_life,
        )

    def infer(self, choices: ChoiceBatch) -> UserStates:
        """One state per user from raw choices, in one forward pass."""
        return self.update(self.prior(choices.n_users), choices)

    def update(self, state: UserStates, choices: ChoiceBatch) -> UserStates:
        """The states after more choices: O(new choices), equal to `infer` on all of them to 1e-9."""
        self._check(state)
        return state.add(self.evidence(choices), choices.weight, choices.timestamp, choices.keys)

    def forget(self, state: UserStates, choices: ChoiceBatch) -> UserStates:
        """The states without these choices, equal to never having seen them to 1e-9."""
        self._check(state)
        return state.forget(self.evidence(choices), choices.weight, choices.timestamp, choices.keys)

    def evidence(self, choices: ChoiceBatch) -> Tensor:
        """Float64[users choices evidence]: double precision, so that batching cannot change a state's last digits."""
        if choices.vectors.shape[-1] != self.dim:
            raise ChoiceError(
                f"choices have item vectors of size {choices.vectors.shape[-1]}, "
                f"this model was trained on size {self.dim}"
            )
        exact: Any = self._exact  # type: ignore[attr-defined]
        users = max(1, CHOICES_AT_ONCE // max(1, choices.n_choices))
        rows = []
        with torch.inference_mode():  # cheaper than `no_grad`; what is joined outside is an ordinary tensor
            for first in range(0, max(1, choices.n_users), users):
                own = slice(first, first + users)
                vectors = exact["standardizer"](choices.vectors[own].double())
                rows.append(exact["encoder"].evidence(ChoiceBatch(vectors, choices.rank[own], choices.weight[own])))
        return torch.cat(rows)

    def posterior(self, state: UserStates) -> LatentPosterior:
        """q(z | choices) as float32: mean Float[users latent], scale likewise or None."""
        self._check(state)
        exact: Any = self._exact  # type: ignore[attr-defined]
        with torch.inference_mode():  # copies in single precision are ordinary tensors again
            found = exact["encoder"].posterior(state.rows, state.weight)
        return found.float()

    # -- texts ---------------------------------------------------------------------------------------------------------

    @property
    def reader(self) -> Embedder:
        """The embedder that makes item vectors, checked to be the one of training; loaded once and kept.

        Raises:
            EmbeddingError: the model was trained on bare vectors, or the embedder cannot be found.
            StateMismatchError: what stands under its name now makes other vectors.
        """
        if self._readers:
            return self._readers[0]
        if self.embedder is None:
            raise EmbeddingError("this model was trained on bare vectors, so it cannot read texts; give it vectors")
        return self.read_with(self.embedder.resolve(self.dim))

    def read_with(self, embedder: Embedder) -> Embedder:
        """Keep an embedder that is loaded already, such as the base of an engine, and return it.

        Raises:
            StateMismatchError: it makes other vectors than this model was trained on.
        """
        expected = None if self.embedder is None else (self.embedder.fingerprint, self.dim)
        if (embedder.fingerprint, embedder.dim) != expected:
            raise StateMismatchError(f"embedder {embedder.name!r} is not the one this model was trained with")
        self._readers[:] = [embedder]
        return embedder

    def vectors(self, items: Sequence[Item], *, progress: Progress | None = None) -> Tensor:
        """Float32[items dim] of (prompt key, response) items."""
        return text_vectors(items, self.reader, progress=progress)

    def user(self, rows: Any = None, *, user: str | None = None) -> User:
        """One user, inferred from rows in any form that `read_choices` takes; from nothing, a user like any other.

        Args:
            rows: a path, table, frame, list of dicts, or one dict.
            user: the user's id, where the rows are of several.
        """
        return User.infer(self, rows, user)

    def users(self, rows: Any, *, on_event: Listener | None = None) -> Users:
        """Every user of some rows, inferred together; `on_event` hears how far that is."""
        return Users.infer(self, rows, on_event=on_event)

    def load_user(self, path: str | PathLike[str], user: str | None = None) -> User:
        """A user that was saved: `User.save`, or one of `Users.save` by id."""
        return User.load(self, path, user)

    # -- items ---------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def score(self, state: UserStates, items: Tensor) -> Tensor:
        """Reward at the posterior mean: Float[users items]."""
        return self.reward(self.posterior(state).mean, items)

    @torch.no_grad()
    def reward(self, z: Tensor, items: Tensor) -> Tensor:
        """Reward at z, Float[users latent]: Float[users items] of Float[items dim] or Float[users items dim]."""
        return self.network.head(self._items(items), z)

    @torch.no_grad()
    def prefer(self, state: UserStates, a: Tensor, b: Tensor) -> Tensor:
        """P(a chosen over b), posterior-averaged: Float[users pairs]."""
        return self.preference(self.posterior(state), a, b)

    @torch.no_grad()
    def preference(self, posterior: LatentPosterior, a: Tensor, b: Tensor) -> Tensor:
        """The same for a posterior at hand."""
        return self.network.preference(posterior, self._items(a), self._items(b), temperature=self.temperature)

    def explain(self, state: UserStates, items: Tensor) -> list[Explanation]:
        """Per user, the items (Float[items dim]) whose reward moved most against the prior.

        `shift` is the move of the centred reward (what matters is an item against the others), `doubt` its standard
        deviation under the posterior (None for a deterministic encoder).
        """
        with torch.no_grad():
            posterior = self.posterior(state)
            standard = self._items(items)
            head, prior = self.network.head, self.posterior(self.prior(len(state)))
            shift = centred(head(standard, posterior.mean)) - centred(head(standard, prior.mean))
            doubt = None
            if posterior.scale is not None:
                draws, log_draw = posterior.draws(64, torch.Generator().manual_seed(0))
                scores = torch.stack([centred(head(standard, z)) for z in draws])
                weight = log_draw.exp().unsqueeze(-1)
                doubt = (weight * (scores - (weight * scores).sum(0)).square()).sum(0).sqrt()
        return explanations(shift, doubt)

    # -- inside --------------------------------------------------------------------------------------------------------

    def _items(self, items: Tensor) -> Tensor:
        if items.shape[-1] != self.dim:
            raise ChoiceError(f"item vectors have size {items.shape[-1]}, this model was trained on size {self.dim}")
        return self.network.standardizer(items.float())

    def _check(self, state: UserStates) -> None:
        if state.fingerprint != self.fingerprint:
            raise StateMismatchError(
                f"this user state was made by model {state.fingerprint}, "
                f"not by this one ({self.fingerprint}); infer it again from the choices"
            )
        encoder = self.network.encoder
        if state.half_life != self.half_life:
            raise StateMismatchError(
                f"this user state has the half-life {state.half_life}, this model {self.half_life}; "
                "infer it again from the choices"
            )
        if state.rows.shape[-1] != encoder.evidence_dim or state.additive != encoder.additive:
            raise StateMismatchError(
                f"this user state holds evidence of size {state.rows.shape[-1]}, this model makes size "
                f"{encoder.evidence_dim}, so the state was altered; infer it again from the choices"
            )

    def _fingerprint(self) -> str:
        digest = hashlib.blake2b(digest_size=8)
        digest.update(self.network.config.model_dump_json(include={"encoder", "latent"}).encode())
        digest.update((self.embedder.fingerprint if self.embedder else "").encode())
        for part in (self.network.standardizer, self.network.encoder):
            for key, value in sorted(part.state_dict().items()):
                digest.update(key.encode() + value.numpy().tobytes())
        return digest.hexdigest()
