"""From a configuration and a base model to a modulator."""

from typing import Any

import torch

from tacit.steering.modulators.config import ModulatorConfig
from tacit.steering.modulators.film import FiLM
from tacit.steering.modulators.gated_lora import GatedLoRA
from tacit.steering.modulators.modulator import Modulator
from tacit.steering.modulators.sites import find_begin, find_blocks, find_embeddings, find_linears
from tacit.steering.modulators.soft_token import SoftToken

__all__ = ["build_modulator"]


def build_modulator(
    model: Any, latent: int, config: ModulatorConfig, generator: torch.Generator | None = None
) -> Modulator:
    """A new modulator for a causal language model, the identity until it is trained.

    Raises:
        ConfigError: blocks, targets or a token to begin with that the model does not have.
    """
    if config.kind == "soft_token":
        return SoftToken(find_embeddings(model), latent, begin=find_begin(model))
    blocks = find_blocks(model, config.blocks)
    if config.kind == "film":
        return FiLM(blocks, latent, generator=generator)
    linears = find_linears(model, blocks, config.targets)
    return GatedLoRA(linears, latent, rank=config.rank, alpha=config.alpha, generator=generator)
