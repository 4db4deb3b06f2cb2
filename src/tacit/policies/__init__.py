"""Policies: language models that answer each user as that user wants."""

from typing import TYPE_CHECKING

from tacit.lazy import lazy

if TYPE_CHECKING:
    from tacit.engines.transformers.attach import Steering
    from tacit.engines.transformers.base import Base, load_base
    from tacit.engines.transformers.dialogue import Dialogue
    from tacit.engines.transformers.generation import Sampling
    from tacit.policies.best_of_n import Ranked, best_of, personal_reward, reward_embedder
    from tacit.policies.export import Exported, export_adapter
    from tacit.policies.fit import fit_policy
    from tacit.policies.policy import SteerablePolicy
    from tacit.policies.training_config import PolicyTrainingConfig
    from tacit.steering.config import PolicyConfig
    from tacit.steering.modulators import GatedLoRA, Modulator, ModulatorConfig

__all__ = [
    "Base",
    "Dialogue",
    "Exported",
    "GatedLoRA",
    "Modulator",
    "ModulatorConfig",
    "PolicyConfig",
    "PolicyTrainingConfig",
    "Ranked",
    "Sampling",
    "SteerablePolicy",
    "Steering",
    "best_of",
    "export_adapter",
    "fit_policy",
    "load_base",
    "personal_reward",
    "reward_embedder",
]
__getattr__, __dir__ = lazy(__name__, __file__)
