"""A trained reward model as a folder: `config.json`, `model.safetensors`, a model card; atomic, strict, no pickle."""

import math
import tempfile
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from tacit.errors import ModelFormatError
from tacit.files import atomic_folder
from tacit.rewards.config import RewardConfig
from tacit.rewards.embedder_reference import EmbedderReference
from tacit.rewards.hub import fetch, upload
from tacit.rewards.model_folder import adopt_weights, own_tensors, read_config, read_tensors, write_folder
from tacit.rewards.network import RewardNetwork
from tacit.rewards.seen import Seen

__all__ = ["TrainedReward"]

VERSION = 2
WROTE = "`tacit train-reward`"


class _Saved(BaseModel):
    """The schema of config.json."""

    model_config = ConfigDict(extra="forbid")
    kind: str
    version: int = VERSION
    dim: int = Field(ge=1, le=2**20)
    reward: RewardConfig
    ties: bool
    temperature: float = Field(gt=0)
    embedder: EmbedderReference | None
    salt: str
    notes: dict[str, Any]


@dataclass(frozen=True)
class TrainedReward:
    """What training gives and a folder holds.

    Attributes:
        network: the weights, on the CPU, in evaluation mode; treat as read-only.
        temperature: divides rewards inside probabilities; fitted on validation users.
        embedder: where item vectors come from, or None when vectors are supplied.
        seen: training users and prompts.
        notes: what training wants to be remembered (settings, validation numbers); plain JSON.
    """

    network: RewardNetwork
    temperature: float = 1.0
    embedder: EmbedderReference | None = None
    seen: Seen = field(default_factory=Seen.nothing)
    notes: dict[str, Any] = field(default_factory=dict)

    name: ClassVar[str] = "np_btl"
    network_class: ClassVar[type[RewardNetwork]] = RewardNetwork

    def save(self, folder: str | PathLike[str]) -> None:
        """Write the folder through a temporary one and a rename."""
        with atomic_folder(folder) as temporary:
            self.write_files(temporary)

    def write_files(self, folder: Path) -> None:
        """The same files into an existing folder; for callers that are themselves atomic."""
        tensors = {f"network.{name}": value for name, value in own_tensors(self.network).items()}
        tensors |= {"seen.users": self.seen.users, "seen.prompts": self.seen.prompts}
        saved = _Saved(
            kind=self.name, dim=self.network.dim, reward=self.network.config, ties=self.network.ties,
            temperature=self.temperature, embedder=self.embedder, salt=self.seen.salt, notes=self.notes,
        )  # fmt: skip
        write_folder(folder, saved, tensors)
        (folder / "README.md").write_text(_card(self))

    @classmethod
    def load(cls, folder: str | PathLike[str]) -> Self:
        """Read a saved folder, or a hub repository by name, strictly.

        Raises:
            ModelFormatError: truncated, altered, of another version, with missing, extra or NaN weights.
        """
        path = Path(folder)
        if not path.exists():
            path = fetch(str(folder))
        saved = read_config(path, cls.name, _Saved, version=VERSION, wrote=WROTE)
        if not math.isfinite(saved.temperature):
            raise ModelFormatError(f"{path / 'config.json'}: temperature is not finite; copy or train the model again")
        with torch.device("meta"):  # nothing is allocated or drawn at random for weights that are about to be read
            network = cls.network_class(saved.dim, saved.reward, ties=saved.ties)
        file = path / "model.safetensors"
        tensors = read_tensors(file)
        users, prompts = _hashes(tensors, "seen.users", file), _hashes(tensors, "seen.prompts", file)
        adopt_weights(network, {name.removeprefix("network."): value for name, value in tensors.items()}, file)
        return cls(network.eval(), saved.temperature, saved.embedder, Seen(saved.salt, users, prompts), saved.notes)

    def push_to_hub(self, name: str, *, private: bool = True, token: str | None = None) -> str:
        """Upload the model as `owner/name` (private unless told otherwise); returns its address."""
        with tempfile.TemporaryDirectory() as folder:
            self.save(Path(folder) / "model")
            return upload(Path(folder) / "model", name, private=private, token=token)


def _hashes(tensors: dict[str, Tensor], name: str, file: Path) -> Tensor:
    value = tensors.pop(name, None)
    if value is None or value.dtype != torch.int64 or value.ndim != 1:
        found = "missing" if value is None else f"{value.dtype} {tuple(value.shape)}"
        raise ModelFormatError(
            f"{file}: its tensors do not fit config.json ({name} is {found}, expected a list of int64); "
            "copy or train the model again"
        )
    return value.clone()


def _card(model: TrainedReward) -> str:
    """Markdown with hub metadata: what the model is, what it was trained on, how to use it."""
    config = model.network.config
    embedder = str(model.embedder.spec["name"]) if model.embedder else "vectors supplied with the data"
    doubt = "with uncertainty" if model.network.encoder.has_uncertainty else "deterministic"
    rows = "".join(
        f"| {key} | {value} |\n" for key, value in sorted(model.notes.items()) if isinstance(value, int | float | str)
    )
    pooled = not config.personal
    what = (
        f"One reward for everybody, the control of a model that follows the user: `{config.head.kind}` head,"
        if pooled
        else f"A reward that follows the user: `{config.encoder.kind}` encoder ({doubt}, latent size {config.latent}), "
        f"`{config.head.kind}` head,"
    )
    use = "" if pooled else " It infers a user from a handful of choices in one forward pass."
    kind = type(model)
    return f"""---
library_name: tacit
license: other
tags: [reward-model, preference-learning, personalization, tacit]
---

# {"Pooled" if pooled else "Few-shot personalised"} reward model

{what}
over item vectors of size {model.network.dim} ({embedder}).{use}

```python
from {kind.__module__} import {kind.__name__}

model = {kind.__name__}.load("this/folder")
```

Trained on {len(model.seen.users)} users and {len(model.seen.prompts)} prompts, kept as salted hashes only.

| note | value |
|---|---|
| temperature | {model.temperature:.4g} |
{rows}"""
