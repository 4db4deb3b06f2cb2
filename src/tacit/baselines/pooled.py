"""Pooled BTL: one reward for everybody. The control that every table carries."""

from typing import Any, ClassVar

from torch import Tensor

from tacit.choices.index import ChoiceIndex
from tacit.rewards.config import RewardConfig
from tacit.rewards.fit import fit_reward
from tacit.rewards.model import RewardModel

__all__ = ["PooledBTL", "fit_pooled"]


class PooledBTL(RewardModel):
    """A `RewardModel` whose encoder learns nothing of anybody: same features, head, optimiser and budget, no z."""

    name: ClassVar[str] = "btl"


def fit_pooled(
    choices: ChoiceIndex, vectors: Tensor, *, config: RewardConfig | None = None, **settings: Any
) -> PooledBTL:
    """`fit_reward` without the user code; `settings` are its other arguments."""
    pooled = (config or RewardConfig()).pooled()
    return fit_reward(choices, vectors, config=pooled, model_class=PooledBTL, **{"name": "pooled", **settings})
