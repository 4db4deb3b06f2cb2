"""Saving and loading reward models: `config.json` + `model.safetensors`, atomic, strict, no pickle."""

import math
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from tacit.errors import ModelFormatError
from tacit.files import atomic_folder
from tacit.rewards.card import model_card
from tacit.rewards.config import RewardConfig
from tacit.rewards.embedder_reference import EmbedderReference
from tacit.rewards.hub import fetch
from tacit.rewards.model_folder import adopt_weights, own_tensors, read_config, read_tensors, write_folder
from tacit.rewards.seen import Seen

if TYPE_CHECKING:
    from tacit.rewards.model import RewardModel

__all__ = ["load_model", "save_model", "write_model_files"]

VERSION = 2
WROTE = "`tacit train-reward`"
M = TypeVar("M", bound="RewardModel")


class _EmbedderField(BaseModel):
    model_config = ConfigDict(extra="forbid")
    spec: dict[str, Any]
    fingerprint: str


class _SavedReward(BaseModel):
    """The schema of config.json."""

    model_config = ConfigDict(extra="forbid")
    kind: str
    version: int = VERSION
    dim: int = Field(ge=1, le=2**20)
    reward: RewardConfig
    ties: bool
    temperature: float = Field(gt=0)
    embedder: _EmbedderField | None
    salt: str
    notes: dict[str, Any]


def save_model(model: "RewardModel", folder: str | PathLike[str]) -> None:
    """Write the folder through a temporary one and a rename."""
    with atomic_folder(folder) as temporary:
        write_model_files(model, temporary)


def write_model_files(model: "RewardModel", folder: Path) -> None:
    """The files of a saved model into an existing folder; for callers that are themselves atomic."""
    tensors = {f"network.{name}": value for name, value in own_tensors(model.network).items()}
    tensors |= {"seen.users": model.seen.users, "seen.prompts": model.seen.prompts}
    embedder = (
        None
        if model.embedder is None
        else _EmbedderField(spec=model.embedder.spec, fingerprint=model.embedder.fingerprint)
    )
    saved = _SavedReward(
        kind=model.name,
        dim=model.dim, reward=model.network.config, ties=model.network.ties, temperature=model.temperature,
        embedder=embedder, salt=model.seen.salt, notes=model.notes,
    )  # fmt: skip
    write_folder(folder, saved, tensors)
    (folder / "README.md").write_text(model_card(model))


def load_model(cls: type[M], folder: str | PathLike[str]) -> M:
    """Read a folder, or fetch a hub repository of that name; everything in it is checked."""
    path = Path(folder)
    if not path.exists():
        path = fetch(str(folder))
    saved = read_config(path, cls.name, _SavedReward, version=VERSION, wrote=WROTE)
    if not math.isfinite(saved.temperature):
        raise ModelFormatError(f"{path / 'config.json'}: temperature is not finite; copy or train the model again")
    with torch.device("meta"):  # nothing is allocated or drawn at random for weights that are about to be read
        network = cls.network_class(saved.dim, saved.reward, ties=saved.ties)
    file = path / "model.safetensors"
    tensors = read_tensors(file)
    users, prompts = _hashes(tensors, "seen.users", file), _hashes(tensors, "seen.prompts", file)
    adopt_weights(network, {name.removeprefix("network."): value for name, value in tensors.items()}, file)
    embedder = None if saved.embedder is None else EmbedderReference(saved.embedder.spec, saved.embedder.fingerprint)
    return cls(network.eval(), saved.temperature, embedder, Seen(saved.salt, users, prompts), saved.notes)


def _hashes(tensors: dict[str, Tensor], name: str, file: Path) -> Tensor:
    value = tensors.pop(name, None)
    if value is None or value.dtype != torch.int64 or value.ndim != 1:
        found = "missing" if value is None else f"{value.dtype} {tuple(value.shape)}"
        raise ModelFormatError(
            f"{file}: its tensors do not fit config.json ({name} is {found}, expected a list of int64); "
            "copy or train the model again"
        )
    return value.clone()
