"""Saving and loading reward models: `config.json` + `model.safetensors`, atomic, strict, no pickle."""

import json
import math
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from tacit.errors import ModelFormatError
from tacit.files import atomic_folder
from tacit.rewards.card import model_card
from tacit.rewards.config import RewardConfig
from tacit.rewards.hub import fetch
from tacit.rewards.network import RewardNetwork
from tacit.rewards.reference import EmbedderReference
from tacit.rewards.seen import Seen

if TYPE_CHECKING:
    from tacit.rewards.model import RewardModel

__all__ = ["load_model", "save_model", "write_model_files"]

VERSION = 1
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
    tensors = {f"network.{name}": value.detach().contiguous() for name, value in _owned(model.network).items()}
    tensors |= {"seen.users": model.seen.users, "seen.prompts": model.seen.prompts}
    embedder = (
        None
        if model.embedder is None
        else _EmbedderField(spec=model.embedder.spec, fingerprint=model.embedder.fingerprint)
    )
    saved = _SavedReward(
        kind=model.name,
        dim=model.dim, reward=model.network.config, temperature=model.temperature,
        embedder=embedder, salt=model.seen.salt, notes=model.notes,
    )  # fmt: skip
    (folder / "model.safetensors").write_bytes(save({name: value.clone() for name, value in tensors.items()}))
    (folder / "config.json").write_text(saved.model_dump_json(indent=2) + "\n")
    (folder / "README.md").write_text(model_card(model))


def load_model(cls: type[M], folder: str | PathLike[str]) -> M:
    """Read a folder, or fetch a hub repository of that name; everything in it is checked."""
    path = Path(folder)
    if not path.exists():
        path = fetch(str(folder))
    saved = _read_config(path, cls.name)
    with torch.device("meta"):  # nothing is allocated or drawn at random for weights that are about to be read
        network = cls.network_class(saved.dim, saved.reward)
    file = path / "model.safetensors"
    try:
        tensors = load_file(file)
    except (OSError, SafetensorError) as error:
        raise ModelFormatError(
            f"{file}: not a complete safetensors file ({_line(error)}); copy or train the model again"
        ) from None
    try:
        users, prompts = _hashes(tensors, "seen.users"), _hashes(tensors, "seen.prompts")
        weights = {name.removeprefix("network."): value.float().clone() for name, value in tensors.items()}
        expected = set(_owned(network))
        for what, names in (("Missing", expected - set(weights)), ("Unexpected", set(weights) - expected)):
            if names:
                raise ValueError(f"{what} key(s): {', '.join(sorted(names)[:5])}")
        network.load_state_dict(weights, strict=False, assign=True)  # not strict: what parts share has one name here
    except (KeyError, ValueError, RuntimeError) as error:
        raise ModelFormatError(
            f"{file}: its tensors do not fit config.json ({_line(error)}); copy or train the model again"
        ) from None
    for name, value in _owned(network).items():
        if not bool(torch.isfinite(value).all()):
            raise ModelFormatError(f"{file}: {name} holds NaN or infinite weights; train the model again")
    embedder = None if saved.embedder is None else EmbedderReference(saved.embedder.spec, saved.embedder.fingerprint)
    return cls(network.eval(), saved.temperature, embedder, Seen(saved.salt, users, prompts), saved.notes)


def _owned(network: RewardNetwork) -> dict[str, Tensor]:
    """Weights and buffers by name; what two parts share appears once."""
    return dict(network.named_parameters()) | dict(network.named_buffers())


def _hashes(tensors: dict[str, Tensor], name: str) -> Tensor:
    value = tensors.pop(name)
    if value.dtype != torch.int64 or value.ndim != 1:
        raise ValueError(f"{name} is {value.dtype} {tuple(value.shape)}, expected a list of int64")
    return value.clone()


def _read_config(path: Path, kind: str) -> _SavedReward:
    file = path / "config.json"
    try:
        raw = json.loads(file.read_text())
    except OSError:
        raise ModelFormatError(
            f"{path}: no readable config.json, so this is not a saved model; give the folder `tacit train-reward` wrote"
        ) from None
    except (ValueError, RecursionError) as error:
        raise ModelFormatError(f"{file}: not complete JSON ({_line(error)}); copy or train the model again") from None
    if not isinstance(raw, dict) or raw.get("kind") != kind:
        found = raw.get("kind") if isinstance(raw, dict) else type(raw).__name__
        raise ModelFormatError(
            f"{file}: kind {found!r} where {kind!r} was expected; give a folder that `tacit train-reward` wrote"
        )
    if raw.get("version") != VERSION:
        raise ModelFormatError(
            f"{file}: version {raw.get('version')!r}, "
            f"this tacit reads {VERSION}; install the tacit that wrote it, or train again"
        )
    try:
        saved = _SavedReward.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ModelFormatError(f"{file}: {where}: {first['msg']}; copy or train the model again") from None
    if not math.isfinite(saved.temperature):
        raise ModelFormatError(f"{file}: temperature is not finite; copy or train the model again")
    return saved


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
