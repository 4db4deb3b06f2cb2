"""A saved model is a folder of `config.json` and `model.safetensors`; here both are written and read strictly."""

import json
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from tacit.errors import ModelFormatError

__all__ = ["adopt_weights", "own_tensors", "read_config", "read_tensors", "write_folder"]

S = TypeVar("S", bound=BaseModel)


def write_folder(folder: Path, config: BaseModel, tensors: dict[str, Tensor]) -> None:
    """Write both files into an existing folder; for callers that are themselves atomic."""
    plain = {name: value.detach().contiguous().clone() for name, value in tensors.items()}
    (folder / "model.safetensors").write_bytes(save(plain))
    (folder / "config.json").write_text(config.model_dump_json(indent=2) + "\n")


def own_tensors(network: nn.Module) -> dict[str, Tensor]:
    """Weights and buffers by name; what two parts share appears once."""
    return dict(network.named_parameters()) | dict(network.named_buffers())


def read_config(path: Path, kind: str, schema: type[S], *, version: int, wrote: str) -> S:
    """`config.json` of a folder, of this kind and version.

    Raises:
        ModelFormatError: missing, cut, of another kind or version, with unknown keys or values out of range.
    """
    file = path / "config.json"
    try:
        raw = json.loads(file.read_text())
    except OSError:
        raise ModelFormatError(
            f"{path}: no readable config.json, so this is not a saved model; give the folder {wrote} wrote"
        ) from None
    except (ValueError, RecursionError) as error:
        raise ModelFormatError(
            f"{file}: not complete JSON ({one_line(error)}); copy or train the model again"
        ) from None
    if not isinstance(raw, dict) or raw.get("kind") != kind:
        found = raw.get("kind") if isinstance(raw, dict) else type(raw).__name__
        raise ModelFormatError(f"{file}: kind {found!r} where {kind!r} was expected; give a folder that {wrote} wrote")
    if raw.get("version") != version:
        raise ModelFormatError(
            f"{file}: version {raw.get('version')!r}, "
            f"this tacit reads {version}; install the tacit that wrote it, or train again"
        )
    try:
        return schema.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ModelFormatError(f"{file}: {where}: {first['msg']}; copy or train the model again") from None


def read_tensors(file: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file.

    Raises:
        ModelFormatError: missing or cut.
    """
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise ModelFormatError(
            f"{file}: not a complete safetensors file ({one_line(error)}); copy or train the model again"
        ) from None


def adopt_weights(network: nn.Module, tensors: dict[str, Tensor], file: Path) -> None:
    """Give a network (made on the meta device) exactly these tensors, all of them.

    Raises:
        ModelFormatError: missing or extra names, other shapes, NaN or infinite weights.
    """
    owned = own_tensors(network)
    try:
        for what, names in (("Missing", set(owned) - set(tensors)), ("Unexpected", set(tensors) - set(owned))):
            if names:
                raise ValueError(f"{what} key(s): {', '.join(sorted(names)[:5])}")
        weights = {name: value.to(owned[name].dtype).clone() for name, value in tensors.items()}
        network.load_state_dict(weights, strict=False, assign=True)  # not strict: what parts share has one name here
    except (KeyError, ValueError, RuntimeError) as error:
        raise ModelFormatError(
            f"{file}: its tensors do not fit config.json ({one_line(error)}); copy or train the model again"
        ) from None
    for name, value in own_tensors(network).items():
        if not bool(torch.isfinite(value).all()):
            raise ModelFormatError(f"{file}: {name} holds NaN or infinite weights; train the model again")


def one_line(error: BaseException) -> str:
    """An error of a library, short and on one line."""
    return " ".join(str(error).split())[:200]
