"""`SteerablePolicy`: what was learnt of answering each user as that user wants. An engine makes a base follow it."""

from dataclasses import asdict, dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, Protocol, Self

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from tacit.encoders.state import UserStates
from tacit.errors import ConfigError, ModelFormatError
from tacit.files import atomic_folder
from tacit.rewards.model import RewardModel
from tacit.rewards.model_folder import adopt_weights, own_tensors, read_config, read_tensors, write_folder
from tacit.steering.config import PolicyConfig
from tacit.steering.modulator import Lora, Modulator, Site

__all__ = ["BaseReference", "LiveBase", "SteerablePolicy", "User"]

VERSION = 5
KIND = "np_dpo"
WROTE = "`tacit train-policy`"

User = UserStates | Tensor
"""Users as states, or directly as z: Float[users latent]."""


@dataclass(frozen=True)
class BaseReference:
    """Which base a policy was trained on: its path or hub name, and the hash of its files."""

    name: str
    fingerprint: str


class LiveBase(Protocol):
    """A loaded base, as far as a new policy looks at it."""

    @property
    def name(self) -> str:
        """Path or hub name."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hash of its files."""
        ...

    @property
    def model(self) -> Any:
        """The causal language model."""
        ...


@dataclass(frozen=True)
class SteerablePolicy:
    """A modulator's weights, the reward model whose user states it understands, and the name of its base.

    Attributes:
        notes: what training wants to be remembered; plain JSON.
    """

    modulator: Modulator
    reward: RewardModel
    base: BaseReference
    config: PolicyConfig = field(default_factory=PolicyConfig)
    notes: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def new(
        cls,
        base: LiveBase,
        reward: RewardModel,
        config: PolicyConfig | None = None,
        *,
        latent: int | None = None,
        seed: int = 0,
    ) -> Self:
        """A policy that is still the base, whoever asks; `latent` is the size of z where `reward` does not give it.

        Raises:
            ConfigError: blocks, targets or a token to begin with that the base does not have.
        """
        config = config or PolicyConfig()
        kind, settings = config.modulator.part, config.modulator.settings
        latent = latent or reward.network.encoder.latent
        modulator = kind.build(base.model, latent, settings, torch.Generator().manual_seed(seed))
        return cls(modulator, reward, BaseReference(base.name, base.fingerprint), config)

    @property
    def sites(self) -> tuple[Site, ...]:
        """The modules of the base that are changed."""
        return self.modulator.sites

    # -- users ---------------------------------------------------------------------------------------------------------

    def latents(self, users: User) -> Tensor:
        """Z of users, Float32[users latent] on the CPU: the posterior mean, at most `max_norm` long.

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
        return (z * (longest / length.clamp(min=longest))).float()

    def mix(self, a: User, b: User, share: float) -> Tensor:
        """The z that is `share` of the way from user a (0) to user b (1), Float32[users latent].

        Raises:
            ConfigError: a share outside [0, 1].
        """
        if not 0 <= share <= 1:
            raise ConfigError(f"mix {share} is outside [0, 1]; 0 is the first user, 1 the second")
        return torch.lerp(self.latents(a), self.latents(b), share)

    # -- as ordinary adapters ------------------------------------------------------------------------------------------

    @torch.no_grad()
    def fold(self, user: User) -> Lora:
        """One user's policy as an ordinary LoRA: by site, A Float[rank inputs] and B Float[outputs rank].

        Raises:
            ConfigError: a modulator that does not fold, or several users.
        """
        z = self.latents(user)
        if len(z) != 1:
            raise ConfigError(f"expected one user to fold, found {len(z)}")
        return self.modulator.fold(z[0].to(self.modulator.unit))

    @torch.no_grad()
    def basis(self) -> list[Lora]:
        """Latent + 1 ordinary LoRAs that serve every user: theirs is the sum weighted by `scales`.

        The first is what everybody gets, the others one dimension of z each, for engines that take scales by request.

        Raises:
            ConfigError: a modulator that does not fold.
        """
        return self.modulator.basis()

    @torch.no_grad()
    def scales(self, users: User) -> Tensor:
        """The weights of `basis` that make each user's policy: Float32[users latent+1], the first of them 1."""
        z = self.modulator.scaled(self.latents(users).to(self.modulator.unit)).cpu()
        return torch.cat([torch.ones(len(z), 1), z], 1)

    # -- folders -------------------------------------------------------------------------------------------------------

    def save(self, folder: str | PathLike[str]) -> None:
        """Write `config.json`, `model.safetensors` and the reward model under `reward/`, atomically."""
        with atomic_folder(folder) as temporary:
            self.write_files(temporary)

    def write_files(self, folder: Path) -> None:
        """The same files into an existing folder; for callers that are themselves atomic."""
        saved = _SavedPolicy(
            base=_BaseField(name=_absolute(self.base.name), fingerprint=self.base.fingerprint),
            sites=[_SiteField(**asdict(site)) for site in self.sites], latent=self.modulator.latent,
            reward=self.reward.fingerprint, policy=self.config, notes=self.notes,
        )  # fmt: skip
        tensors = {
            name: (value.float() if value.is_floating_point() else value).detach().cpu()
            for name, value in own_tensors(self.modulator).items()
        }
        write_folder(folder, saved, tensors)
        (folder / "reward").mkdir()
        self.reward.write_files(folder / "reward")

    @classmethod
    def load(cls, folder: str | PathLike[str]) -> Self:
        """Read a saved folder strictly; the base is not looked at.

        Raises:
            ModelFormatError: truncated, altered, of another version, with missing, extra or NaN weights.
        """
        path = Path(folder)
        saved = read_config(path, KIND, _SavedPolicy, version=VERSION, wrote=WROTE)
        reward = RewardModel.load(path / "reward")
        if (reward.fingerprint, reward.network.encoder.latent) != (saved.reward, saved.latent):
            raise ModelFormatError(
                f"{path / 'reward'}: reward model {reward.fingerprint} where {saved.reward} was expected, so the "
                "folder is put together from two policies; copy or train it again"
            )
        file = path / "model.safetensors"
        tensors = read_tensors(file)
        sites = [Site(**site.model_dump()) for site in saved.sites]
        with torch.device("meta"):  # nothing is allocated or drawn at random for weights that are about to be read
            modulator = saved.policy.modulator.part(sites, saved.latent, saved.policy.modulator.settings)
        adopt_weights(modulator, tensors, file)
        for name in ("unit", "power"):
            if not (value := float(getattr(modulator, name))) > 0:
                raise ModelFormatError(f"{file}: {name} is {value}, expected above 0; copy or train it again")
        base = BaseReference(saved.base.name, saved.base.fingerprint)
        return cls(modulator, reward, base, saved.policy, saved.notes)


# -- config.json -------------------------------------------------------------------------------------------------------


class _BaseField(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    fingerprint: str


class _SiteField(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    inputs: int = Field(ge=1, le=2**24)
    outputs: int = Field(ge=1, le=2**24)
    target: str
    transposed: bool


class _SavedPolicy(BaseModel):
    model_config = ConfigDict(extra="forbid")
    kind: str = KIND
    version: int = VERSION
    base: _BaseField
    sites: list[_SiteField] = Field(min_length=1)
    latent: int = Field(ge=1, le=2**16)
    reward: str
    policy: PolicyConfig
    notes: dict[str, Any]


def _absolute(name: str) -> str:
    """A local folder's full path, so that a saved policy does not depend on where the next process starts."""
    path = Path(name).expanduser()
    return str(path.resolve()) if path.is_dir() else name
