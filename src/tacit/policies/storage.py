"""Saving and loading policies: `config.json` + `model.safetensors` (the modulator) + `reward/`, atomic and strict."""

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field

from tacit.engines.transformers.base import Base, load_base
from tacit.errors import ConfigError, ModelFormatError
from tacit.files import atomic_folder
from tacit.rewards.model import RewardModel
from tacit.rewards.model_folder import adopt_weights, own_tensors, read_config, read_tensors, write_folder
from tacit.rewards.storage import write_model_files
from tacit.steering.config import PolicyConfig
from tacit.steering.modulators import build_modulator

if TYPE_CHECKING:
    from tacit.policies.policy import SteerablePolicy

__all__ = ["load_policy", "save_policy", "write_policy_files"]

VERSION = 4
KIND = "np_dpo"
WROTE = "`tacit train-policy`"
P = TypeVar("P", bound="SteerablePolicy")


class _BaseField(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    fingerprint: str


class _SavedPolicy(BaseModel):
    """The schema of config.json."""

    model_config = ConfigDict(extra="forbid")
    kind: str = KIND
    version: int = VERSION
    base: _BaseField
    latent: int = Field(ge=1, le=2**16)
    reward: str
    policy: PolicyConfig
    notes: dict[str, Any]


def save_policy(policy: "SteerablePolicy", folder: str | PathLike[str]) -> None:
    """Write the folder through a temporary one and a rename."""
    with atomic_folder(folder) as temporary:
        write_policy_files(policy, temporary)


def write_policy_files(policy: "SteerablePolicy", folder: Path) -> None:
    """The files of a saved policy into an existing folder; for callers that are themselves atomic."""
    base = policy.base
    saved = _SavedPolicy(
        base=_BaseField(name=_absolute(base.name), fingerprint=base.fingerprint), latent=policy.modulator.latent,
        reward=policy.reward.fingerprint, policy=policy.config, notes=policy.notes,
    )  # fmt: skip
    tensors = {name: value.detach().float().cpu() for name, value in own_tensors(policy.modulator).items()}
    write_folder(folder, saved, tensors)
    (folder / "reward").mkdir()
    write_model_files(policy.reward, folder / "reward")


def load_policy(
    cls: type[P], folder: str | PathLike[str], *, base: str | None, device: str | None, dtype: str | None
) -> P:
    """Read a folder and the base it names, or `base` instead."""
    path = Path(folder)
    saved = read_config(path, KIND, _SavedPolicy, version=VERSION, wrote=WROTE)
    reward = RewardModel.load(path / "reward")
    if (reward.fingerprint, reward.network.encoder.latent) != (saved.reward, saved.latent):
        raise ModelFormatError(
            f"{path / 'reward'}: reward model {reward.fingerprint} where {saved.reward} was expected, so the folder is "
            "put together from two policies; copy or train it again"
        )
    file = path / "model.safetensors"
    tensors = read_tensors(file)
    found = load_base(base or saved.base.name, device=device, dtype=dtype)
    _check_base(found, saved)
    with torch.device("meta"):  # nothing is allocated or drawn at random for weights that are about to be read
        modulator = build_modulator(found.model, saved.latent, saved.policy.modulator)
    adopt_weights(modulator, tensors, file)
    for name in ("unit", "power"):
        if not (value := float(getattr(modulator, name))) > 0:
            raise ModelFormatError(f"{file}: {name} is {value}, expected above 0; copy or train it again")
    return cls(found, modulator, reward, saved.policy, saved.notes)


def _check_base(found: Base, saved: _SavedPolicy) -> None:
    if found.fingerprint != saved.base.fingerprint:
        raise ConfigError(
            f"base '{found.name}' is not the one this policy was trained on ('{saved.base.name}'): its files' hash is "
            f"{found.fingerprint[:8]}, expected {saved.base.fingerprint[:8]}; give that one with --base"
        )


def _absolute(name: str) -> str:
    """A local folder's full path, so that a saved policy does not depend on where the next process starts."""
    path = Path(name).expanduser()
    return str(path.resolve()) if path.is_dir() else name
