"""The base model of the text world, which comes with the package."""

from importlib import resources
from pathlib import Path

__all__ = ["text_base"]


def text_base() -> Path:
    """Folder of a causal language model of half a million weights that answers the world's prompts in any style.

    Pretrained by `scripts/pretrain_text_base.py`.
    """
    return Path(str(resources.files("tacit.worlds.text") / "base"))
