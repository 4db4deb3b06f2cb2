"""From a model's name to a local folder with safetensors weights, and a fingerprint of what the folder holds.

Everything that loads a model passes through here, so one place decides what is refused: missing folders, an
unreachable hub, folders without a config, weights that exist as pickles only.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tacit.errors import EmbeddingError

__all__ = ["content_fingerprint", "locate_model", "quiet_transformers"]

_WANTED = ("*.json", "*.txt", "*.model", "*.safetensors")
_VOCABULARIES = ("tokenizer.json", "vocab.*", "*.model")
_HUB_TIMEOUT_S = 10


def locate_model(name: str) -> Path:
    """The folder of a model given as a path or as a hub name; a hub model is downloaded once, without its pickles.

    Raises:
        EmbeddingError: no such folder, hub unreachable and nothing in its cache, no config, no
            vocabulary, no safetensors weights.
    """
    path = Path(name).expanduser()
    if not path.exists():
        if name.startswith((".", "/", "~")) or "\\" in name or name.count("/") > 1:
            raise EmbeddingError(f"no model folder at '{name}'; give an existing folder or a hub name like 'org/model'")
        path = _download(name)
    if not (path / "config.json").is_file() and not (path / "modules.json").is_file():
        raise EmbeddingError(f"'{name}' holds no config.json; expected a folder saved by transformers' save_pretrained")
    if not _holds(path, "*.safetensors"):
        raise EmbeddingError(
            f"'{name}' holds no *.safetensors weights (pickled weights are never loaded); "
            "convert it with save_pretrained of a current transformers"
        )
    if not _holds(path, *_VOCABULARIES):
        raise EmbeddingError(  # transformers would make an empty tokenizer, to which every word is unknown
            f"'{name}' holds no tokenizer.json or vocabulary; save the model's tokenizer beside it with save_pretrained"
        )
    return path


def _holds(folder: Path, *patterns: str) -> bool:
    """Whether `folder` or one right below it (as sentence-transformers lays modules out) has such a file."""
    return any(True for pattern in patterns for place in (pattern, f"*/{pattern}") for _ in folder.glob(place))


def _download(name: str) -> Path:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

    known = "known names are minilm, hash and vectors, or give a folder"
    try:
        # A single request without retries: an unreachable hub shows in seconds, and the cache is tried next.
        HfApi().model_info(name, timeout=_HUB_TIMEOUT_S)
        offline = False
    except (HFValidationError, RepositoryNotFoundError):
        raise EmbeddingError(f"no folder '{name}' and no public hub model of that name; {known}") from None
    except Exception:  # the hub client's transport errors share no base class with OSError
        offline = True
    try:
        return Path(snapshot_download(name, allow_patterns=list(_WANTED), local_files_only=offline))
    except Exception as error:
        why = "the model hub cannot be reached" if offline else f"its download failed ({first_line(error)})"
        raise EmbeddingError(f"no folder '{name}', and {why}; {known}") from None


def content_fingerprint(folders: Sequence[Path], *settings: object) -> str:
    """Hash (32 hex digits) of the weights, configs and vocabularies in `folders` and of `settings`, not of paths."""
    digest = hashlib.blake2b(repr(settings).encode(), digest_size=16)
    for folder in folders:
        for path in sorted(p for pattern in _WANTED for p in folder.glob(pattern)):
            with path.open("rb") as file:
                digest.update(path.name.encode() + hashlib.file_digest(file, "blake2b").digest())
    return digest.hexdigest()


def first_line(error: BaseException) -> str:
    """The first line of an outside library's message, for our one-line errors."""
    said = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if said.startswith("`tiktoken` is required"):  # transformers says so of any vocabulary that it cannot read
        return "its tokenizer.model cannot be read; try `pip install --upgrade sentencepiece protobuf`, or tiktoken"
    return said


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Load without transformers' bars and reports: what matters of them is checked and raised by the caller."""
    from transformers.utils import logging as transformers_logging

    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
