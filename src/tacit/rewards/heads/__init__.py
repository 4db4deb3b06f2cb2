"""Reward heads: r(item; z), one file each.

A head is one file here, or anywhere if it registers itself: a subclass of `RewardHead`, `@heads.register(name)`.
"""

from typing import TYPE_CHECKING, Any

from tacit.lazy import lazy
from tacit.registry import Registry

if TYPE_CHECKING:
    from tacit.rewards.heads.bilinear import BilinearHead
    from tacit.rewards.heads.head import HeadConfig, RewardHead
    from tacit.rewards.heads.mlp import MLPHead

__all__ = ["BilinearHead", "HeadConfig", "MLPHead", "RewardHead", "heads"]
__getattr__, __dir__ = lazy(__name__, __file__)

heads: Registry[Any] = Registry("reward head", "tacit.rewards.heads")
"""Subclasses of `RewardHead` by name."""
