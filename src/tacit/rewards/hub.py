"""Sharing models on the Hugging Face hub, with our own strict, safetensors-only files."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tacit.errors import ModelFormatError

if TYPE_CHECKING:
    from tacit.rewards.model import RewardModel

__all__ = ["fetch", "push_to_hub"]

FILES = ["config.json", "model.safetensors", "README.md"]


def fetch(name: str) -> Path:
    """Download (or find in the cache) the repository `owner/name`; returns its folder."""
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise ModelFormatError(
            f"{name}: no such folder; give the folder `tacit train-reward` wrote, or a hub name owner/model"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=FILES))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise ModelFormatError(
            f"{name}: no such folder, and the hub did not give it ({reason}); give the folder `tacit train-reward` "
            "wrote, or check the hub name and your login"
        ) from None


def push_to_hub(model: "RewardModel", name: str, *, private: bool = True, token: str | None = None) -> str:
    """Upload the model as `owner/name` (private unless told otherwise); returns its address."""
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    url = api.create_repo(name, private=private, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "model")
        api.upload_folder(repo_id=name, folder_path=str(Path(folder) / "model"), allow_patterns=FILES)
    return str(url)
