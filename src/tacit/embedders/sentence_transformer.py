"""Models of the sentence-transformers library, through their own pooling and projection modules.

Tokens, windows and batches are those of every transformer embedder here, so the library's silent truncation never
applies. Task prompts that a model may declare ("query: ") are not added.
"""

import json
from pathlib import Path

from torch import Tensor

from tacit.embedders.source import first_line, locate_model, quiet_transformers
from tacit.embedders.transformer import LoadedModel, TransformerEmbedder, choose_device, choose_dtype
from tacit.errors import EmbeddingError

__all__ = ["load_sentence_transformer"]


def load_sentence_transformer(
    name: str,
    *,
    max_length: int | None = None,
    device: str | None = None,
    dtype: str | None = None,
    batch_tokens: int | None = None,
) -> TransformerEmbedder:
    """Load `st:PATH_OR_HUB_NAME`; needs the extra `sentence-transformers`, loads neither remote code nor pickles.

    Raises:
        EmbeddingError: one line for whatever stops the model from being found, loaded or run.
    """
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise EmbeddingError(
            f"'{name}' needs the sentence-transformers library; pip install 'tacit[sentence-transformers]'"
        ) from None
    target = choose_device(device)
    folder = locate_model(name.removeprefix("st:"))
    folders = _module_folders(name, folder)
    try:
        with quiet_transformers():
            model = SentenceTransformer(
                str(folder), device=str(target), trust_remote_code=False, local_files_only=True,
                model_kwargs={"use_safetensors": True, "dtype": "auto"},
            )  # fmt: skip
    except Exception as error:  # damaged files raise whatever the format's own library raises
        raise EmbeddingError(f"'{name}' cannot be loaded by sentence-transformers: {first_line(error)}") from error
    precision = choose_dtype(dtype, target, next(model.parameters()).dtype)
    model = model.to(precision).eval()

    def forward(ids: Tensor, mask: Tensor) -> Tensor:
        return model({"input_ids": ids, "attention_mask": mask})["sentence_embedding"]

    return TransformerEmbedder(
        LoadedModel(
            forward,
            model.tokenizer,
            limits=(model.max_seq_length, model.tokenizer.model_max_length),
            folders=folders,
            spec={"name": name},
            normalize=any(type(module).__name__ == "Normalize" for module in model),
            device=target,
            dtype=precision,
        ),
        max_length=max_length,
        batch_tokens=batch_tokens,
    )


def _module_folders(name: str, folder: Path) -> tuple[Path, ...]:
    """The model's folder and its modules', each checked for weights that exist as pickles only."""
    listed = folder / "modules.json"
    try:
        modules = json.loads(listed.read_text(encoding="utf-8")) if listed.is_file() else []
        folders = (folder, *(folder / module["path"] for module in modules if module["path"]))
    except (ValueError, KeyError, TypeError) as error:
        raise EmbeddingError(f"'{name}' has a damaged modules.json: {first_line(error)}") from error
    for place in folders:
        if any(place.glob("*.bin")) and not any(place.glob("*.safetensors")):
            raise EmbeddingError(
                f"'{name}' keeps the weights of '{place.name}' as pickles only; save it again as safetensors"
            )
    return folders
