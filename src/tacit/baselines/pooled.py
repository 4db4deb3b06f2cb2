"""Pooled BTL: one reward for everybody. The control that every table carries."""

from typing import Any, ClassVar, Self

from torch import Tensor

from tacit.baselines import baselines
from tacit.baselines.method import Kind, Settings, grid
from tacit.choices.index import ChoiceIndex
from tacit.rewards.config import RewardConfig
from tacit.rewards.fit import fit_reward
from tacit.rewards.model import RewardModel

__all__ = ["POOLED_GRID", "PooledBTL"]

POOLED_GRID = grid({}, {"dropout": 0.5}, {"head": {"hidden": ()}}, {"principal": 32})


@baselines.register("btl")
class PooledBTL(RewardModel):
    """A `RewardModel` whose encoder learns nothing of anybody: same features, head, optimiser and budget, no z."""

    name: ClassVar[str] = "btl"
    label: ClassVar[str] = "pooled BTL"
    kind: ClassVar[Kind] = "control"
    config_class: ClassVar[type[RewardConfig]] = RewardConfig
    grid: ClassVar[tuple[Settings, ...]] = POOLED_GRID

    @classmethod
    def fit(cls, choices: ChoiceIndex, vectors: Tensor, *, config: RewardConfig | None = None, **settings: Any) -> Self:
        """`fit_reward` without the user code; `settings` are its other arguments."""
        pooled = (config or RewardConfig()).pooled()
        return fit_reward(choices, vectors, config=pooled, model_class=cls, **{"name": "pooled", **settings})
