"""A base model: a causal language model with its tokenizer, known by a fingerprint of its files, and probed.

Two things that would be wrong without a word are found where a base is loaded: a model that computes a padded row
otherwise than the same row alone, and a tokenizer with more tokens than the model has embeddings.
"""

import logging
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tacit.embedders.source import content_fingerprint, first_line, locate_model, quiet_transformers
from tacit.embedders.transformer import choose_device, choose_dtype
from tacit.errors import ConfigError, EmbeddingError

__all__ = ["Base", "load_base"]

logger = logging.getLogger(__name__)

_UNBOUNDED = 10**6  # tokenizers without a limit of their own announce a number beyond any real one


@dataclass(frozen=True)
class Base:
    """A frozen language model, in evaluation mode, and its tokenizer.

    Attributes:
        name: path or hub name, as given.
        folder: where its files lie.
        fingerprint: hash of weights, configuration and vocabulary.
        context: tokens that fit into the model, prompt and response together; None = no limit known.
    """

    name: str
    folder: Path
    fingerprint: str
    model: Any
    tokenizer: Any
    context: int | None

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    @property
    def vocabulary(self) -> int:
        """How many tokens the model has embeddings for."""
        return self.model.get_input_embeddings().num_embeddings

    @property
    def ends(self) -> list[int]:
        """The tokens that end a text: the tokenizer's, and what the model's settings say, such as an end of turn."""
        own = [self.model.generation_config.eos_token_id, self.model.config.get_text_config().eos_token_id]
        more = [token for some in own for token in (some if isinstance(some, list) else [some]) if token is not None]
        return [token for token in dict.fromkeys([self.tokenizer.eos_token_id, *more]) if token < self.vocabulary]

    @property
    def pad(self) -> int:
        """The token that fills rows up; any will do, since it is masked."""
        known = (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id)
        return next((token for token in known if token is not None and token < self.vocabulary), 0)


def load_base(name: str, *, device: str | None = None, dtype: str | None = None) -> Base:
    """Load a causal language model from a path or hub name; remote code and pickles are never loaded.

    Args:
        name: path or hub name.
        device: default an accelerator if there is one, else the CPU.
        dtype: default float32 on a CPU, else the checkpoint's own.

    Raises:
        ConfigError: one line for whatever stops the model from being found, loaded, or used as a policy.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    try:
        folder = locate_model(name)
        target = choose_device(device)
        with quiet_transformers():
            config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            stored = config.dtype if isinstance(config.dtype, torch.dtype) else None
            precision = choose_dtype(dtype, target, stored)
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder, config=config, dtype=precision, local_files_only=True, trust_remote_code=False,
                use_safetensors=True, output_loading_info=True,
            )  # fmt: skip
            model, report = loaded
    except EmbeddingError as error:
        raise ConfigError(f"base: {error}") from None
    except Exception as error:  # damaged files raise whatever the format's own library raises
        raise ConfigError(f"base '{name}' cannot be loaded as a causal language model: {first_line(error)}") from error
    missing = sorted(report["missing_keys"])
    if missing:  # transformers would fill them with random numbers
        raise ConfigError(
            f"base '{name}' lacks {len(missing)} weights (such as {missing[0]}), so it is no causal language model, "
            "or damaged; give one saved whole by save_pretrained"
        )
    if tokenizer.eos_token_id is None:
        raise ConfigError(f"base '{name}': its tokenizer has no eos token, so answers could not end; set eos_token")
    model = model.to(target).eval().requires_grad_(False)
    _probe_vocabulary(name, model, tokenizer)
    _probe_padding(name, model)
    logger.info("base %s: %s on %s", name, str(precision).removeprefix("torch."), target)
    return Base(name, folder, content_fingerprint([folder]), model, tokenizer, _context(model, tokenizer))


def _context(model: Any, tokenizer: Any) -> int | None:
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    limits = [limit for limit in (positions, tokenizer.model_max_length) if limit and limit < _UNBOUNDED]
    return min(limits, default=None)


def _probe_vocabulary(name: str, model: Any, tokenizer: Any) -> None:
    """Refuse tokens beyond the embeddings, but for one that only pads: padding is another token then."""
    rows = model.get_input_embeddings().num_embeddings
    padding = tokenizer.pad_token if tokenizer.pad_token != tokenizer.eos_token else None
    beyond = {token: number for token, number in tokenizer.get_vocab().items() if number >= rows and token != padding}
    if beyond:
        first = min(beyond, key=beyond.__getitem__)
        raise ConfigError(
            f"base '{name}': its tokenizer has {len(beyond)} tokens (such as {first!r}, {beyond[first]}) beyond the "
            f"{rows} rows of its embeddings; save it after model.resize_token_embeddings(len(tokenizer)), or give its "
            "own tokenizer"
        )


@torch.inference_mode()
def _probe_padding(name: str, model: Any) -> None:
    """Refuse a model to which padding is not nothing: whatever is computed of a batch would be wrong.

    Recurrent families that know no mask, or positions that count padding, would give every row but the longest of a
    batch another likelihood, and other answers.
    """
    device, rows = next(model.parameters()).device, model.get_input_embeddings().num_embeddings
    own = torch.randint(rows, (1, 4), generator=torch.Generator().manual_seed(0)).to(device)
    expected = _last_logits(model, own, torch.ones_like(own))
    if not bool(expected.isfinite().all()):
        return  # said where a token is drawn
    scale = float((expected - expected.mean()).abs().max()) or 1.0
    for filling in (0, rows - 1):
        padded = torch.cat([torch.full_like(own, filling), own], 1)
        mask = torch.cat([torch.zeros_like(own), torch.ones_like(own)], 1)
        apart = float((_last_logits(model, padded, mask) - expected).abs().max()) / scale
        if not apart <= _ROUNDING[model.dtype]:
            raise ConfigError(
                f"base '{name}' of the family '{model.config.model_type}' computes a padded row otherwise than the "
                f"same row alone (by {apart:.0%} of its logits), so batches would be wrong; use a base that obeys an "
                "attention mask"
            )


_ROUNDING = {torch.float64: 1e-6, torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.02}


def _last_logits(model: Any, ids: Tensor, mask: Tensor) -> Tensor:
    given = {"input_ids": ids, "attention_mask": mask, "use_cache": False}
    if "position_ids" in signature(model.forward).parameters:
        given["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
    return model(**given).logits[:, -1].float()
