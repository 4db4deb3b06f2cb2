"""Saved models as arguments: found before anything heavy is imported."""

from pathlib import Path

from tacit.errors import ModelFormatError

__all__ = ["find_model", "find_policy"]


def find_model(name: str) -> Path:
    """The folder of a saved reward model, or of a hub repository of that name.

    Raises:
        ModelFormatError: there is none.
    """
    path = Path(name)
    if not path.exists():
        from tacit.rewards.hub import fetch

        return fetch(name)
    if path.is_dir() and not (path / "config.json").exists():
        raise ModelFormatError(
            f"{path}: no readable config.json, so this is not a saved model; give the folder `tacit train-reward` wrote"
        )
    return path


def find_policy(name: str) -> Path:
    """The folder of a saved policy.

    Raises:
        ModelFormatError: there is none.
    """
    path = Path(name)
    if not (path / "config.json").exists():
        raise ModelFormatError(
            f"{path}: no readable config.json, so this is not a saved model; give the folder `tacit train-policy` wrote"
        )
    return path
