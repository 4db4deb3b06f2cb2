"""Steering: what a policy is, without any live model: modulators, their scales, and what they fold into."""

from typing import TYPE_CHECKING

from tacit.lazy import lazy

if TYPE_CHECKING:
    from tacit.steering.adapter import write_adapter
    from tacit.steering.config import ModulatorPart, PolicyConfig
    from tacit.steering.modulator import Change, Lora, Modulator, ModulatorConfig, Site
    from tacit.steering.policy import BaseReference, SteerablePolicy, User
    from tacit.steering.sites import find_blocks, find_linears

__all__ = [
    "BaseReference",
    "Change",
    "Lora",
    "Modulator",
    "ModulatorConfig",
    "ModulatorPart",
    "PolicyConfig",
    "Site",
    "SteerablePolicy",
    "User",
    "find_blocks",
    "find_linears",
    "write_adapter",
]
__getattr__, __dir__ = lazy(__name__, __file__)
