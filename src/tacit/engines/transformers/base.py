"""A base model: a causal language model with its tokenizer, known by a fingerprint of its files."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

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
    def ends(self) -> list[int]:
        """The tokens that end an answer: the tokenizer's, and what the model itself says, such as an end of turn."""
        own = self.model.generation_config.eos_token_id
        more = own if isinstance(own, list) else [] if own is None else [own]
        return list(dict.fromkeys([self.tokenizer.eos_token_id, *more]))

    @property
    def pad(self) -> int:
        """The token that fills rows up; any will do, since it is masked."""
        ends = (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id)
        return next((token for token in ends if token is not None), 0)


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
    logger.info("base %s: %s on %s", name, str(precision).removeprefix("torch."), target)
    return Base(name, folder, content_fingerprint([folder]), model, tokenizer, _context(model, tokenizer))


def _context(model: Any, tokenizer: Any) -> int | None:
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    limits = [limit for limit in (positions, tokenizer.model_max_length) if limit and limit < _UNBOUNDED]
    return min(limits, default=None)
