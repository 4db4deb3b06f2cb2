"""Options that several verbs share, as annotated types; saved models are found before anything heavy is imported."""

from pathlib import Path
from typing import Annotated

import typer

from tacit.errors import ModelFormatError

__all__ = [
    "BaseName",
    "Data",
    "Device",
    "EmbedderName",
    "LateData",
    "ModelFolder",
    "Out",
    "PolicyFolder",
    "Precision",
    "Seed",
    "SeedOverride",
    "Store",
    "find_model",
    "find_policy",
]

_DATA = typer.Argument(metavar="DATA", help="Preferences: .jsonl, .csv, .parquet or hf://owner/name.")

Data = Annotated[str, _DATA]
"""`data: Data`"""

LateData = Annotated[str | None, _DATA]
"""`data: LateData = None`, for verbs that print their settings without it."""

EmbedderName = Annotated[
    str | None, typer.Option("--embedder", metavar="NAME", help="minilm, hash, vectors, a path or a hub name.")
]
"""`embedder: EmbedderName = None`"""

Store = Annotated[
    Path | None, typer.Option("--store", metavar="DIR", help="Item store to use and extend, from `tacit embed`.")
]
"""`store: Store = None`"""

ModelFolder = Annotated[str, typer.Argument(metavar="MODEL", help="Folder of `tacit train-reward`, or a hub name.")]
"""`model: ModelFolder`"""

PolicyFolder = Annotated[str, typer.Argument(metavar="POLICY", help="Folder of `tacit train-policy`.")]
"""`policy: PolicyFolder`"""

BaseName = Annotated[
    str | None, typer.Option("--base", metavar="MODEL", help="The base, where it is not under its old name.")
]
"""`base: BaseName = None`"""

Device = Annotated[str | None, typer.Option("--device", help="cpu, cuda, ...; default: what there is.")]
"""`device: Device = None`"""

Precision = Annotated[str | None, typer.Option("--dtype", help="Precision of the base: float32, bfloat16, float16.")]
"""`dtype: Precision = None`"""

# The range every generator takes (torch, numpy, scikit-learn).
_SEED = typer.Option("--seed", min=0, max=2**32 - 1, help="One seed for everything random.")

Seed = Annotated[int, _SEED]
"""`seed: Seed = 0`"""

SeedOverride = Annotated[int | None, _SEED]
"""`seed: SeedOverride = None`, for verbs whose configuration holds the seed: the flag wins where it is given."""

Out = Annotated[Path, typer.Option("--out", metavar="DIR", file_okay=False, help="Folder for the results.")]
"""`out: Out`; check it with `prepare_out` before the work starts."""


def find_model(name: str) -> Path:
    """The folder of a saved reward model, or of a hub repository of that name.

    Raises:
        ModelFormatError: there is none.
    """
    if not Path(name).exists():
        from tacit.rewards.hub import fetch

        return fetch(name)
    return _saved(Path(name), by="train-reward") if Path(name).is_dir() else Path(name)


def find_policy(name: str) -> Path:
    """The folder of a saved policy.

    Raises:
        ModelFormatError: there is none.
    """
    return _saved(Path(name), by="train-policy")


def _saved(path: Path, by: str) -> Path:
    if not (path / "config.json").exists():
        raise ModelFormatError(
            f"{path}: no readable config.json, so this is not a saved model; give the folder `tacit {by}` wrote"
        )
    return path
