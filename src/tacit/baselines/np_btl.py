"""NP-BTL, the model of this library, as a row of the benchmark's table."""

from typing import Any, ClassVar, Self

from torch import Tensor

from tacit.baselines import baselines
from tacit.baselines.method import FAST_MANY, Kind, Settings, grid
from tacit.choices.index import ChoiceIndex
from tacit.rewards.config import RewardConfig
from tacit.rewards.fit import fit_reward
from tacit.rewards.model import RewardModel

__all__ = ["NPBTL"]

_TYPES = {"base": False, "half_life": "fit"}


@baselines.register("np_btl")
class NPBTL(RewardModel):
    """A `RewardModel`, and the settings that tuning may choose from."""

    label: ClassVar[str] = "NP-BTL (ours)"
    kind: ClassVar[Kind] = "ours"
    config_class: ClassVar[type[RewardConfig]] = RewardConfig
    grid: ClassVar[tuple[Settings, ...]] = grid(
        {"half_life": "fit"},
        {"half_life": "fit", "latent": 4, "principal": 32},
        {**_TYPES, "encoder": {"components": 8}},
        {
            **_TYPES, "encoder": {"components": 2}, "latent": 2, "dropout": 0.0, "head": {"hidden": (128, 128)},
            "training": FAST_MANY,
        },
    )  # fmt: skip

    @classmethod
    def fit(cls, choices: ChoiceIndex, vectors: Tensor, **settings: Any) -> Self:
        """`fit_reward`, whose other arguments `settings` are."""
        return fit_reward(choices, vectors, model_class=cls, **settings)
