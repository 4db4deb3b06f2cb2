"""What every transformer embedder does around its model: tokens, windows, length-bucketed batches.

An item is read as `prompt_text(prompt) + "\\n" + response` (the response alone if the prompt is empty), without a chat
template: the one rendering of conversations (`tacit.choices.conversation`).
Prompt and response are tokenised apart, so that cutting by the rule of `windows` is exact, and framed by the
tokenizer's own special tokens. Batches are padded on the right and masked.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tacit.choices.conversation import prompt_text
from tacit.embedders.embedder import Item
from tacit.embedders.source import content_fingerprint
from tacit.embedders.windows import combine_windows, cut_windows, token_budget_batches
from tacit.errors import EmbeddingError

__all__ = ["LoadedModel", "TransformerEmbedder", "choose_device", "choose_dtype"]

log = logging.getLogger(__name__)

_VERSION = 1  # raise it when the text layout, the window rule or the combination changes the vectors
_WINDOW_CAP = 2048  # decoders announce 100 000 tokens and more; nobody wants attention over that many by default
_BATCH_TOKENS_CPU = 2048  # beyond it the padding and the caches of a CPU cost more than larger products gain
_BATCH_TOKENS_ACCELERATOR = 65536
_UNBOUNDED = 10**6  # tokenizers without a limit of their own announce a number beyond any real one
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to be wrapped.

    Attributes:
        forward: Float[rows dim] from ids and mask, Int64[rows tokens] each, padded on the right.
        tokenizer: a transformers tokenizer.
        limits: candidate limits of the input length in tokens; None and absurdly large ones are ignored.
        folders: where the files that determine the vectors lie.
        spec: how to resolve it again, without the window.
        normalize: whether vectors are scaled to unit length (after windows are combined).
    """

    forward: Callable[[Tensor, Tensor], Tensor]
    tokenizer: Any
    limits: tuple[int | None, ...]
    folders: tuple[Path, ...]
    spec: dict[str, Any]
    normalize: bool
    device: torch.device
    dtype: torch.dtype


class TransformerEmbedder:
    """An `Embedder` around a transformer; made by `load_huggingface` and `load_sentence_transformer`.

    Args:
        max_length: tokens per window, special tokens included; default the model's limit, at most 2048.
        batch_tokens: padded tokens per batch; default by device.

    Raises:
        EmbeddingError: a `max_length` that the model or its special tokens do not allow.
    """

    def __init__(self, model: LoadedModel, *, max_length: int | None = None, batch_tokens: int | None = None) -> None:
        self._model = model
        self._prefix, self._suffix = _special_tokens(model.tokenizer)
        ends = (model.tokenizer.pad_token_id, model.tokenizer.eos_token_id)
        self._pad = next((token for token in ends if token is not None), 0)
        self.name: str = model.spec["name"]
        limit = min((limit for limit in model.limits if limit and limit < _UNBOUNDED), default=_UNBOUNDED)
        self.window = min(limit, _WINDOW_CAP) if max_length is None else max_length
        special = len(self._prefix) + len(self._suffix)
        if not special < self.window <= limit:
            raise EmbeddingError(
                f"max_length {self.window} does not suit '{self.name}'; expected {special + 1} to {limit} tokens"
            )
        if batch_tokens is not None and batch_tokens < 1:
            raise EmbeddingError(f"batch_tokens must be at least 1, found {batch_tokens}")
        self.batch_tokens = batch_tokens or (
            _BATCH_TOKENS_CPU if model.device.type == "cpu" else _BATCH_TOKENS_ACCELERATOR
        )
        self.spec: dict[str, Any] = {**model.spec, "max_length": self.window}
        settings = {key: value for key, value in self.spec.items() if key != "name"}
        self.fingerprint = content_fingerprint(model.folders, _VERSION, model.normalize, sorted(settings.items()))
        self.dim: int = self._run([[*self._prefix, self._pad, *self._suffix]]).shape[1]
        log.info(
            "embedder %s: %s on %s, %d dimensions, %s, batches of %d padded tokens",
            self.name, str(model.dtype).removeprefix("torch."), model.device, self.dim,
            ", ".join(f"{key} {value}" for key, value in settings.items()), self.batch_tokens,
        )  # fmt: skip

    def embed(self, items: Sequence[Item]) -> np.ndarray:
        """Float32[items dim]; an item's vector does not depend on the others in the call, up to rounding."""
        if not items:
            return np.zeros((0, self.dim), dtype=np.float32)
        windows, owner, weight = self.windows(items)
        batches = token_budget_batches(np.array([len(window) for window in windows]), self.batch_tokens)
        vectors = combine_windows(self.pooled(windows, batches), owner, weight, len(items))
        if self._model.normalize:
            vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return vectors

    def windows(self, items: Sequence[Item]) -> tuple[list[list[int]], np.ndarray, np.ndarray]:
        """Token ids of every window, the item each belongs to (Int64[windows]) and its weight (Float32[windows])."""
        prompts = list(dict.fromkeys(prompt for prompt, _ in items))
        heads = dict(
            zip(
                prompts, self._tokens([f"{prompt_text(prompt)}\n" if prompt else "" for prompt in prompts]), strict=True
            )
        )
        room = self.window - len(self._prefix) - len(self._suffix)
        windows, owner, weight = [], [], []
        for number, ((prompt, response), tail) in enumerate(
            zip(items, self._tokens([response for _, response in items]), strict=True)
        ):
            for ids, response_tokens in cut_windows(heads[prompt], tail, room):
                windows.append([*self._prefix, *ids, *self._suffix])
                owner.append(number)
                weight.append(response_tokens)
            if not windows[-1]:
                raise EmbeddingError(f"'{self.name}' finds no token in the response {response!r}; expected some text")
        return windows, np.array(owner), np.array(weight, dtype=np.float32)

    def pooled(self, windows: Sequence[Sequence[int]], batches: Sequence[np.ndarray]) -> np.ndarray:
        """Float32[windows dim], computed in the given `batches` of window numbers."""
        vectors = np.empty((len(windows), self.dim), dtype=np.float32)
        for rows in batches:
            vectors[rows] = self._run([windows[row] for row in rows])
        return vectors

    def _tokens(self, texts: list[str]) -> list[list[int]]:
        return self._model.tokenizer(
            texts, add_special_tokens=False, padding=False, truncation=False, verbose=False,
            return_attention_mask=False, return_token_type_ids=False,
        )["input_ids"]  # fmt: skip

    @torch.inference_mode()
    def _run(self, rows: Sequence[Sequence[int]]) -> np.ndarray:
        """One padded batch: Float32[rows dim]."""
        longest = max(map(len, rows))
        ids = torch.tensor([[*row, *[self._pad] * (longest - len(row))] for row in rows])
        mask = (torch.arange(longest) < torch.tensor([len(row) for row in rows])[:, None]).long()
        vectors = self._model.forward(ids.to(self._model.device), mask.to(self._model.device))
        return vectors.float().cpu().numpy()


def choose_device(device: str | None) -> torch.device:
    """The device asked for, else the accelerator if there is one, else the CPU."""
    if device is None:
        found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return found or torch.device("cpu")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise EmbeddingError(f"no device '{device}' here; expected cpu or an accelerator that is present") from None
    return chosen


def choose_dtype(dtype: str | None, device: torch.device, stored: torch.dtype | None) -> torch.dtype:
    """The precision asked for, else float32 on a CPU and the checkpoint's own on an accelerator."""
    if dtype is None:
        return stored or torch.float32 if device.type != "cpu" else torch.float32
    if dtype not in _DTYPES:
        raise EmbeddingError(f"dtype '{dtype}' is unknown; expected one of {', '.join(_DTYPES)}")
    return _DTYPES[dtype]


def _special_tokens(tokenizer: Any) -> tuple[list[int], list[int]]:
    """What the tokenizer puts before and after one text."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    framed = tokenizer("a")["input_ids"]
    for start in range(len(framed) - len(bare) + 1):
        if framed[start : start + len(bare)] == bare:
            return framed[:start], framed[start + len(bare) :]
    raise EmbeddingError("the tokenizer changes a text's tokens when it adds special ones; use another model")
