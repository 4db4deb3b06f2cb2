"""Reward models: heads, the network, training, saving, and the `PreferenceModel` contract."""

from typing import TYPE_CHECKING

from tacit.lazy import lazy

if TYPE_CHECKING:
    from tacit.rewards.config import RewardConfig
    from tacit.rewards.embedder_reference import EmbedderReference
    from tacit.rewards.fit import fit_reward
    from tacit.rewards.heads.bilinear import BilinearHead
    from tacit.rewards.heads.head import RewardHead
    from tacit.rewards.heads.mlp import MLPHead
    from tacit.rewards.model import RewardModel
    from tacit.rewards.protocol import Explanation, PreferenceModel

__all__ = [
    "BilinearHead",
    "EmbedderReference",
    "Explanation",
    "MLPHead",
    "PreferenceModel",
    "RewardConfig",
    "RewardHead",
    "RewardModel",
    "fit_reward",
]
__getattr__, __dir__ = lazy(__name__, __file__)
