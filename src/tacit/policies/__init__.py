"""Policies: how language models that answer each user as that user wants are trained and judged."""

from typing import TYPE_CHECKING

from tacit.lazy import lazy

if TYPE_CHECKING:
    from tacit.policies.best_of_n import Ranked, best_of, personal_reward, read_with_base
    from tacit.policies.fit import fit_policy
    from tacit.policies.training_config import PolicyTrainingConfig

__all__ = [
    "PolicyTrainingConfig",
    "Ranked",
    "best_of",
    "fit_policy",
    "personal_reward",
    "read_with_base",
]
__getattr__, __dir__ = lazy(__name__, __file__)
