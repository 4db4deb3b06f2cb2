"""Reward heads: r(item; z) from an item vector and a user's latent."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from tacit.encoders.encoder import mlp

__all__ = ["BilinearHead", "MLPHead", "RewardHead"]


class RewardHead(nn.Module, ABC):
    """Scores items for users, in two steps: `read` looks at each item alone, `combine` lets the user come in.

    Shapes of `forward(items, z)`: items Float[users items dim], or Float[items dim] shared by all users;
    z Float[... users latent]; returns Float[... users items]. `linear` says that r is affine in z, so that a reward
    difference under a Gaussian posterior is Gaussian too.
    """

    linear: ClassVar[bool]

    @abstractmethod
    def read(self, items: Tensor) -> Tensor:
        """What is made of items whoever asks: Float[... features] of Float[... dim]."""

    @abstractmethod
    def combine(self, features: Tensor, z: Tensor) -> Tensor:
        """Rewards Float[... users items] of features Float[(users) items features]."""

    def forward(self, items: Tensor, z: Tensor) -> Tensor:
        """Rewards Float[... users items]."""
        return self.combine(self.read(items), z)


class BilinearHead(RewardHead):
    """r(y; z) = f(y) . z + b(y): scoring many users is one matrix product. `net` gives [f, b] from outside."""

    linear: ClassVar[bool] = True

    def __init__(
        self,
        dim: int,
        latent: int,
        *,
        hidden: tuple[int, ...] = (128,),
        dropout: float = 0.0,
        net: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.latent = latent
        self.net = mlp([dim, *hidden, latent + 1], dropout=dropout) if net is None else net

    def features(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """F Float[... items latent] and b Float[... items]."""
        out = self.net(items)
        return out[..., : self.latent], out[..., self.latent]

    def read(self, items: Tensor) -> Tensor:
        """[f, b]: Float[... latent+1]."""
        return self.net(items)

    def combine(self, features: Tensor, z: Tensor) -> Tensor:
        """F . z + b: Float[... users items]."""
        f, b = features[..., : self.latent], features[..., self.latent]
        if features.ndim == 2:
            return z @ f.T + b
        return torch.einsum("uil,...ul->...ui", f, z) + b


class MLPHead(RewardHead):
    """The paper's head: an MLP on [item; z]. The first layer is split so that the item half is computed once."""

    linear: ClassVar[bool] = False

    def __init__(self, dim: int, latent: int, *, hidden: tuple[int, ...] = (128, 128), dropout: float = 0.0) -> None:
        super().__init__()
        first = hidden[0] if hidden else 64
        self.item = nn.Linear(dim, first)
        self.user = nn.Linear(latent, first, bias=False) if latent else None  # None: one reward for everybody
        self.rest = mlp([first, *hidden[1:], 1], dropout=dropout)

    def read(self, items: Tensor) -> Tensor:
        """The item half of the first layer: Float[... hidden]."""
        return self.item(items)

    def combine(self, features: Tensor, z: Tensor) -> Tensor:
        """The rest of the MLP: Float[... users items]."""
        user = z.new_zeros(*z.shape[:-1], 1) if self.user is None else self.user(z)
        hidden = features + user.unsqueeze(-2)
        return self.rest(functional.gelu(hidden)).squeeze(-1)
