"""Modulators: how z changes the function that a language model computes."""

from typing import TYPE_CHECKING

from tacit.lazy import lazy

if TYPE_CHECKING:
    from tacit.steering.modulators.build import build_modulator
    from tacit.steering.modulators.config import ModulatorConfig
    from tacit.steering.modulators.film import FiLM
    from tacit.steering.modulators.gated_lora import GatedLoRA
    from tacit.steering.modulators.modulator import Change, Modulator, Site
    from tacit.steering.modulators.sites import find_blocks, find_linears
    from tacit.steering.modulators.soft_token import SoftToken

__all__ = [
    "Change",
    "FiLM",
    "GatedLoRA",
    "Modulator",
    "ModulatorConfig",
    "Site",
    "SoftToken",
    "build_modulator",
    "find_blocks",
    "find_linears",
]
__getattr__, __dir__ = lazy(__name__, __file__)
