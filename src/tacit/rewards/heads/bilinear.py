"""The bilinear head, on its own or on a pooled reward that was trained before."""

from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from tacit.encoders.encoder import mlp
from tacit.rewards.heads import heads
from tacit.rewards.heads.head import HeadConfig, RewardHead

__all__ = ["BasedFeatures", "BilinearHead"]


class BasedFeatures(nn.Module):
    """[f, b] where b comes from a network of its own that stays as it is: the pooled reward, trained before."""

    def __init__(self, dim: int, latent: int, hidden: tuple[int, ...], *, dropout: float, members: int) -> None:
        super().__init__()
        self.personal = mlp([dim, *(members * width for width in hidden), latent], dropout=dropout)
        self.base = mlp([dim, *hidden, 1], dropout=dropout).requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Dropout never touches the base."""
        super().train(mode)
        self.base.eval()
        return self

    def forward(self, items: Tensor) -> Tensor:
        """Float[... latent+1]."""
        return torch.cat([self.personal(items), self.base(items)], dim=-1)


@heads.register("bilinear")
class BilinearHead(RewardHead):
    """r(y; z) = f(y) . z + b(y): scoring many users is one matrix product.

    Args:
        base: take b from a network of its own, which stays as the pooled reward is put into it.
        members: networks side by side, each with an equal share of z (`tacit.rewards.ensemble`); needs `base`.

    Attributes:
        net: from items to [f, b], Float[... latent+1], which an encoder may share.
    """

    config_class = HeadConfig
    linear: ClassVar[bool] = True

    def __init__(
        self,
        dim: int,
        latent: int,
        config: HeadConfig | None = None,
        *,
        dropout: float = 0.0,
        base: bool = False,
        members: int = 1,
    ) -> None:
        super().__init__()
        hidden = (config or HeadConfig()).hidden
        self.latent = latent
        if base:
            self.net = BasedFeatures(dim, latent, hidden, dropout=dropout, members=members)
        else:
            self.net = mlp([dim, *hidden, latent + 1], dropout=dropout)

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
