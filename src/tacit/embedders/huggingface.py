"""Any Hugging Face encoder or causal language model as an embedder: frozen final states, pooled.

A causal model's last real token has seen the whole item, so that is its default; an encoder's states are averaged
over real tokens. Which of the two a model is, is measured, not guessed from its name. The states are those after the
final norm, the ones the model's own head reads.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tacit.embedders.pooling import POOLING, Pooling
from tacit.embedders.source import first_line, locate_model, quiet_transformers
from tacit.embedders.transformer import LoadedModel, TransformerEmbedder, choose_device, choose_dtype
from tacit.errors import EmbeddingError

__all__ = ["load_huggingface", "wrap_huggingface"]


def load_huggingface(
    name: str,
    *,
    folder: Path | None = None,
    pooling: Pooling | None = None,
    max_length: int | None = None,
    normalize: bool = False,
    device: str | None = None,
    dtype: str | None = None,
    batch_tokens: int | None = None,
) -> TransformerEmbedder:
    """Load an encoder or causal LM from a path or hub name; remote code and pickles are never loaded.

    Args:
        name: path or hub name, kept in the spec.
        folder: where the model lies if `name` is neither of the two.
        pooling: `mean`, `last` or `first`; default `last` for causal models, else `mean`.
        max_length: tokens per window; default the model's limit, at most 2048.
        normalize: scale vectors to unit length.
        device: default an accelerator if there is one, else the CPU.
        dtype: default float32 on a CPU, else the checkpoint's own.
        batch_tokens: padded tokens per batch; default by device.

    Raises:
        EmbeddingError: one line for whatever stops the model from being found, loaded or run.
    """
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    if pooling is not None and pooling not in POOLING:
        raise EmbeddingError(f"pooling '{pooling}' is unknown; expected one of {', '.join(POOLING)}")
    target = choose_device(device)
    folder = folder or locate_model(name)
    try:
        with quiet_transformers():
            config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            stored = config.dtype if isinstance(config.dtype, torch.dtype) else None
            precision = choose_dtype(dtype, target, stored)
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            model, report = AutoModel.from_pretrained(
                folder, config=config, dtype=precision, local_files_only=True, trust_remote_code=False,
                use_safetensors=True, output_loading_info=True,
            )  # fmt: skip
    except EmbeddingError:
        raise
    except Exception as error:  # damaged files raise whatever the format's own library raises
        raise EmbeddingError(f"'{name}' cannot be loaded as a text model: {first_line(error)}") from error
    if config.is_encoder_decoder:
        raise EmbeddingError(f"'{name}' is an encoder-decoder; expected an encoder or a causal language model")
    missing = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    if missing:  # transformers would fill them with random numbers
        raise EmbeddingError(
            f"'{name}' lacks {len(missing)} weights (such as {missing[0]}); save the whole model again"
        )
    return wrap_huggingface(
        model.to(target).eval(), tokenizer, name=name, folder=folder, pooling=pooling, max_length=max_length,
        normalize=normalize, batch_tokens=batch_tokens,
    )  # fmt: skip


def wrap_huggingface(
    model: Any,
    tokenizer: Any,
    *,
    name: str,
    folder: Path,
    pooling: Pooling | None = None,
    max_length: int | None = None,
    normalize: bool = False,
    batch_tokens: int | None = None,
) -> TransformerEmbedder:
    """An embedder around a model that is loaded already, without a head and in evaluation mode; see `load_huggingface`.

    Raises:
        EmbeddingError: a `max_length` that the model does not allow.
    """
    pooling = pooling or ("last" if _is_causal(model) else "mean")
    pool = POOLING[pooling]
    first = next(model.parameters())

    def forward(ids: Tensor, mask: Tensor) -> Tensor:
        return pool(model(input_ids=ids, attention_mask=mask).last_hidden_state.float(), mask)

    return TransformerEmbedder(
        LoadedModel(
            forward,
            tokenizer,
            limits=(tokenizer.model_max_length, _positions(model)),
            folders=(folder,),
            spec={"name": name, "pooling": pooling},
            normalize=normalize,
            device=first.device,
            dtype=first.dtype,
        ),
        max_length=max_length,
        batch_tokens=batch_tokens,
    )


@torch.inference_mode()
def _is_causal(model: nn.Module) -> bool:
    """Whether the first token's state ignores what follows it."""
    ids = torch.tensor([[1, 2], [1, 3]], device=next(model.parameters()).device)
    states = model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    return torch.equal(states[0, 0], states[1, 0])


def _positions(model: nn.Module) -> int | None:
    """How many positions the model has; RoBERTa's family spends the first `padding_idx + 1` of them on padding."""
    positions = getattr(model.config, "max_position_embeddings", None)
    table = getattr(getattr(model, "embeddings", None), "position_embeddings", None)
    if positions and isinstance(table, nn.Embedding) and table.padding_idx is not None:
        return positions - table.padding_idx - 1
    return positions
