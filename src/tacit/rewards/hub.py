"""Sharing models on the Hugging Face hub, with our own strict, safetensors-only files."""

from pathlib import Path

from tacit.errors import ModelFormatError

__all__ = ["fetch", "upload"]

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


def upload(folder: Path, name: str, *, private: bool, token: str | None) -> str:
    """Upload a saved model as the repository `owner/name`; returns its address."""
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    url = api.create_repo(name, private=private, exist_ok=True)
    api.upload_folder(repo_id=name, folder_path=str(folder), allow_patterns=FILES)
    return str(url)
