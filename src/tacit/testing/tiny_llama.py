"""A tiny Llama that modulators are tried on, and what is asked of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tacit.episodes.hashing import step_generator

__all__ = ["TOKENS", "apart", "checkpointing", "hook_count", "logits_of", "loss_of", "some_ids", "tiny_llama"]

VOCABULARY, TOKENS, BEGIN = 32, 6, 1


def tiny_llama() -> Any:
    """Two blocks, always the same frozen weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=32, initializer_range=0.3, pad_token_id=0, bos_token_id=BEGIN,
        eos_token_id=None,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LlamaForCausalLM(config).eval().requires_grad_(False)


def some_ids(rows: int) -> Tensor:
    """Random tokens behind the one that prompts begin with."""
    ids = torch.randint(2, VOCABULARY, (rows, TOKENS), generator=step_generator(6, 16))
    return torch.cat([torch.full((rows, 1), BEGIN), ids[:, 1:]], 1)


@torch.no_grad()
def logits_of(model: Any, ids: Tensor | None = None) -> Tensor:
    """Without a cache: Float[rows tokens vocabulary]."""
    return model(input_ids=some_ids(2) if ids is None else ids, use_cache=False).logits


def loss_of(model: Any) -> Tensor:
    """A scalar that every logit of four rows has a part in."""
    logits = model(input_ids=some_ids(4), use_cache=False).logits
    return (logits * torch.randn(logits.shape, generator=step_generator(8, 17))).sum()


def apart(first: Tensor, second: Tensor) -> float:
    """The largest difference between two tensors' entries."""
    return (first - second).abs().max().item()


def hook_count(model: nn.Module) -> int:
    """Hooks anywhere in a model."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(part, kind)) for part in model.modules() for kind in kinds)


@contextmanager
def checkpointing(model: Any, *, use_reentrant: bool) -> Iterator[None]:
    """Within the block the model trains with activation checkpointing, which transformers renamed in its version 5."""
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    disable = getattr(model, "activation_checkpointing_disable", None) or model.gradient_checkpointing_disable
    model.train()
    enable({"use_reentrant": use_reentrant})
    try:
        yield
    finally:
        disable()
        model.eval()
