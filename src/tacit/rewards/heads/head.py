"""The contract of a reward head: r(item; z) from an item vector and a user's latent."""

from abc import ABC, abstractmethod
from typing import ClassVar

from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from tacit.encoders.encoder import Widths

__all__ = ["HeadConfig", "RewardHead"]


class HeadConfig(BaseModel):
    """Settings of both built-in heads: widths of the hidden layers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    hidden: Widths = (128,)


class RewardHead(nn.Module, ABC):
    """Scores items for users, in two steps: `read` looks at each item alone, `combine` lets the user come in.

    A reward network builds every registered head by `head_class(dim, latent, config, dropout=dropout)`: sizes of a
    standardised item vector and of z (0 = one reward for everybody), and an instance of `config_class`, None = its
    defaults.

    Shapes of `forward(items, z)`: items Float[users items dim], or Float[items dim] shared by all users;
    z Float[... users latent]; returns Float[... users items]. `linear` says that r is affine in z, so that a reward
    difference under a Gaussian posterior is Gaussian too.
    """

    config_class: ClassVar[type[BaseModel]]
    linear: ClassVar[bool]

    @abstractmethod
    def read(self, items: Tensor) -> Tensor:
        """What is made of items before a user comes in: Float[... features] of Float[... dim]."""

    @abstractmethod
    def combine(self, features: Tensor, z: Tensor) -> Tensor:
        """Rewards Float[... users items] of features Float[(users) items features]."""

    def forward(self, items: Tensor, z: Tensor) -> Tensor:
        """Rewards Float[... users items]."""
        return self.combine(self.read(items), z)
