"""Modulators: how z changes the function that a language model computes. One file a kind; nothing else names them."""

from typing import TYPE_CHECKING, Any

from tacit.lazy import lazy
from tacit.registry import Registry

if TYPE_CHECKING:
    from tacit.steering.modulators.film import FiLM, FiLMConfig
    from tacit.steering.modulators.gated_lora import GatedLoRA, GatedLoRAConfig
    from tacit.steering.modulators.soft_token import SoftToken, SoftTokenConfig

__all__ = [
    "FiLM",
    "FiLMConfig",
    "GatedLoRA",
    "GatedLoRAConfig",
    "SoftToken",
    "SoftTokenConfig",
    "modulators",
]
__getattr__, __dir__ = lazy(__name__, __file__)

modulators: Registry[Any] = Registry("modulator", "tacit.steering.modulators")
"""Subclasses of `tacit.steering.Modulator` by name."""
