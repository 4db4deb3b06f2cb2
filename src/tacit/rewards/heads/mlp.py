"""The paper's head: an MLP on item and latent together."""

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from tacit.encoders.encoder import mlp
from tacit.rewards.heads import heads
from tacit.rewards.heads.head import HeadConfig, RewardHead

__all__ = ["MLPHead"]


@heads.register("mlp")
class MLPHead(RewardHead):
    """The paper's head: an MLP on [item; z]. The first layer is split so that the item half is computed once."""

    config_class = HeadConfig
    linear: ClassVar[bool] = False

    def __init__(self, dim: int, latent: int, config: HeadConfig | None = None, *, dropout: float = 0.0) -> None:
        super().__init__()
        hidden = (config or HeadConfig()).hidden
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
