"""Tiny causal language models of many families, built from their configurations alone."""

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tacit.steering import Modulator, PolicyConfig

VOCABULARY = 64
COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "initializer_range": 0.2,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
OWN: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {},
    "qwen3": {"head_dim": 8},
    "gemma": {"head_dim": 8},
    "gemma3_text": {"head_dim": 8},
    "mistral": {},
    "phi3": {},
    "olmo2": {},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
    "gpt_neox": {},
    "falcon": {},
    "bloom": {"n_layer": 2, "n_head": 4},
    "mpt": {"d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 64},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "qwen2_moe": {
        "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2,
    },
}  # fmt: skip


def tiny(family: str, seed: int = 0) -> Any:
    """A frozen model in evaluation mode; the caller's random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **{**COMMON, **OWN[family]}))
    return model.eval().requires_grad_(False)


def build(model: Any, latent: int, seed: int = 0, **settings: Any) -> Modulator:
    """A new modulator, gated LoRA unless the settings say otherwise."""
    chosen = PolicyConfig.model_validate({"modulator": settings}).modulator
    return chosen.part.build(model, latent, chosen.settings, torch.Generator().manual_seed(seed))
