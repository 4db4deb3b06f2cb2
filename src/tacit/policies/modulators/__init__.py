"""Modulators: how z changes the function that a language model computes."""

from tacit.policies.modulators.build import build_modulator
from tacit.policies.modulators.config import ModulatorConfig
from tacit.policies.modulators.film import FiLM
from tacit.policies.modulators.gated_lora import GatedLoRA
from tacit.policies.modulators.modulator import Change, Modulator, Site
from tacit.policies.modulators.sites import find_blocks, find_linears
from tacit.policies.modulators.soft_token import SoftToken

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
