"""`SteerablePolicy`: one language model that answers each user as that user wants."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, Self

import torch
from torch import Tensor

from tacit.encoders.state import UserStates
from tacit.engines.transformers.attach import Steering
from tacit.engines.transformers.base import Base
from tacit.engines.transformers.dialogue import Dialogue
from tacit.engines.transformers.generation import Sampling, generate, stream
from tacit.engines.transformers.log_probs import response_log_probs
from tacit.errors import ConfigError
from tacit.policies.storage import load_policy, save_policy
from tacit.rewards.model import RewardModel
from tacit.steering.config import PolicyConfig
from tacit.steering.modulators import Modulator, build_modulator

__all__ = ["SteerablePolicy"]

User = UserStates | Tensor
"""Users as states, or directly as z: Float[users latent]."""


@dataclass(frozen=True)
class SteerablePolicy:
    """A base model, a modulator on it, and the reward model whose user states it understands.

    The base itself is never changed: several policies may share it, and `users=None` is the base as it was.

    Attributes:
        notes: what training wants to be remembered; plain JSON.
    """

    base: Base
    modulator: Modulator
    reward: RewardModel
    config: PolicyConfig = field(default_factory=PolicyConfig)
    notes: dict[str, Any] = field(default_factory=dict)
    steering: Steering = field(init=False, repr=False)
    dialogue: Dialogue = field(init=False, repr=False)

    def __post_init__(self) -> None:
        dialogue = Dialogue(self.base, template=self.config.template, max_length=self.config.max_length)
        object.__setattr__(self, "dialogue", dialogue)
        self.modulator.check(dialogue.prompt("?"), chat=dialogue.chat)
        self.modulator.to(self.base.device)
        object.__setattr__(self, "steering", Steering(self.base.model, self.modulator))

    @classmethod
    def new(
        cls,
        base: Base,
        reward: RewardModel,
        config: PolicyConfig | None = None,
        *,
        latent: int | None = None,
        seed: int = 0,
    ) -> Self:
        """A policy that is still the base, whoever asks; `latent` is the size of z where `reward` does not give it."""
        config = config or PolicyConfig()
        generator = torch.Generator().manual_seed(seed)
        latent = latent or reward.network.encoder.latent
        return cls(base, build_modulator(base.model, latent, config.modulator, generator), reward, config)

    # -- users ---------------------------------------------------------------------------------------------------------

    def latents(self, users: User) -> Tensor:
        """Z of users, Float[users latent] on the base's device: the posterior mean, at most `max_norm` long.

        Raises:
            StateMismatchError: states of another model.
            ConfigError: a z of another size, or one that is not finite.
        """
        z = self.reward.posterior(users).mean if isinstance(users, UserStates) else users
        if z.ndim != 2 or z.shape[1] != self.modulator.latent:
            raise ConfigError(f"z has the shape {tuple(z.shape)}; expected [users, {self.modulator.latent}]")
        longest = self.config.max_norm * self.modulator.latent**0.5
        z = z.cpu().double()  # the squares of a long one overflow in float32
        length = z.norm(dim=1, keepdim=True)
        if not bool(length.isfinite().all()):
            raise ConfigError("z is not finite, so the profile is damaged; infer it again")
        return (z * (longest / length.clamp(min=longest))).to(self.base.device, torch.float32)

    def mix(self, a: User, b: User, share: float) -> Tensor:
        """The z that is `share` of the way from user a (0) to user b (1), Float[users latent].

        Raises:
            ConfigError: a share outside [0, 1].
        """
        if not 0 <= share <= 1:
            raise ConfigError(f"mix {share} is outside [0, 1]; 0 is the first user, 1 the second")
        return torch.lerp(self.latents(a), self.latents(b), share)

    @contextmanager
    def steered(self, users: User | None) -> Iterator[Any]:
        """The base model, within the block steered by these users (None: not at all)."""
        with self.steering.off() if users is None else self.steering.steer(self.latents(users)):
            yield self.base.model

    # -- answers -------------------------------------------------------------------------------------------------------

    def generate(self, prompts: Sequence[str], users: User | None, sampling: Sampling | None = None) -> list[list[str]]:
        """Answers to each prompt, `sampling.samples` each; prompt i is asked by user i, or all by the only user.

        Raises:
            ChoiceError: a prompt that leaves no room for an answer.
        """
        self._check(prompts, users)
        with self.steered(users) as model:
            return generate(model, self.dialogue, prompts, self._sampling(users, sampling))

    def stream(self, prompt: str, users: User | None, sampling: Sampling | None = None) -> Iterator[str]:
        """One answer, piece by piece as it is written."""
        self._check([prompt], users)
        return stream(lambda: self.steered(users), self.dialogue, prompt, self._sampling(users, sampling))

    @torch.no_grad()
    def log_probs(self, items: Sequence[tuple[str, str]], users: User | None) -> Tensor:
        """Log-probability in nats of each response to its prompt, Float[items], item i under user i or the only one."""
        self._check(items, users)
        rows = [self.dialogue.row(self.dialogue.prompt(p), self.dialogue.response(p, r)) for p, r in items]
        with self.steered(users) as model:
            return response_log_probs(model, self.dialogue.batch(rows).to(self.base.device)).cpu()

    # -- folders -------------------------------------------------------------------------------------------------------

    def save(self, folder: str | PathLike[str]) -> None:
        """Write `config.json`, `model.safetensors` and the reward model under `reward/`, atomically."""
        save_policy(self, folder)

    @classmethod
    def load(
        cls,
        folder: str | PathLike[str],
        *,
        base: str | None = None,
        device: str | None = None,
        dtype: str | None = None,
    ) -> Self:
        """Read a saved folder strictly, with its base found under the name it was trained with, or under `base`.

        Raises:
            ModelFormatError: truncated, altered, of another version, with missing, extra or NaN weights.
            ConfigError: the base is missing, or not the one that the policy was trained on.
        """
        return load_policy(cls, folder, base=base, device=device, dtype=dtype)

    def _sampling(self, users: User | None, sampling: Sampling | None) -> Sampling:
        sampling = sampling or Sampling()
        return sampling.model_copy(update={"within_base": False}) if users is None else sampling  # it is the base

    def _check(self, rows: Sequence[object], users: User | None) -> None:
        if not rows:
            raise ConfigError("nothing to answer; give at least one prompt")
        if users is not None and len(users) not in (1, len(rows)):
            raise ConfigError(f"{len(rows)} prompts for {len(users)} users; expected one user, or one a prompt")
