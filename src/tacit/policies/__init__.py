"""Policies: language models that answer each user as that user wants."""

from tacit.policies.base import Base, load_base
from tacit.policies.config import PolicyConfig
from tacit.policies.dialogue import Dialogue
from tacit.policies.export import Exported, export_adapter
from tacit.policies.fit import fit_policy
from tacit.policies.generation import Sampling
from tacit.policies.modulators import GatedLoRA, Modulator, ModulatorConfig
from tacit.policies.policy import SteerablePolicy
from tacit.policies.reading import Ranked, best_of, personal_reward, reward_embedder
from tacit.policies.steering import Steering
from tacit.policies.training_config import PolicyTrainingConfig

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
