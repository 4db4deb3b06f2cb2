"""What the two Gaussian baselines (`laplace`, `pairwise_gp`) share: item features, prior mean, averaged probabilities.

A user's reward is Gaussian, so a reward difference is, and P(a over b) = E[sigmoid(gap)] is integrated exactly. Items
are seen through the first principal components of the training items, scaled by one number so that the mean squared
norm of a training item is 1: hyperparameters then start on the same scale whatever the embedder.
"""

from abc import abstractmethod
from typing import ClassVar, Literal, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from tacit.baselines.adaptive import AdaptiveNetwork, Fitted, Run
from tacit.baselines.pooled import PooledBTL
from tacit.rewards.config import RewardConfig
from tacit.rewards.episodic_fit import FitData
from tacit.rewards.expected_preference import expected_sigmoid
from tacit.rewards.heads.bilinear import BilinearHead
from tacit.training.config import TrainingConfig

__all__ = ["GaussianConfig", "GaussianNetwork", "fit_population"]

N = TypeVar("N", bound="GaussianNetwork")


class GaussianConfig(BaseModel):
    """Settings of both.

    Attributes:
        components: principal components kept; the fit lowers it to what the items have.
        base: what the population's mean reward builds on besides the components: nothing, or the pooled BTL's `mlp`.
        dropout: in that MLP.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    components: int = Field(default=32, ge=1, le=4096)
    base: Literal["zero", "mlp"] = "zero"
    dropout: float = Field(default=0.3, ge=0, lt=1)


class GaussianNetwork(AdaptiveNetwork):
    """A Gaussian reward for every user; subclasses say with which mean and covariance. Inside, numbers are float64.

    Attributes:
        basis: Float32[dim components], from standardised vectors to features.
        base: the pooled reward, frozen, or None.
    """

    has_uncertainty: ClassVar[bool] = True
    basis: Tensor

    def __init__(self, dim: int, config: GaussianConfig, n_users: int = 1) -> None:
        super().__init__(dim, config)
        self.register_buffer("basis", torch.zeros(dim, config.components))
        mlp = config.base == "mlp"
        self.base = BilinearHead(dim, 0, dropout=config.dropout) if mlp else None

    @abstractmethod
    def gap(self, fitted: Fitted, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of r(a) - r(b): Float64[users pairs] each, of a, b Float[(users) pairs dim]."""

    def features(self, items: Tensor) -> Tensor:
        """Principal components Float64[... components] of Float[... dim]."""
        return (items @ self.basis).double()

    def pooled_reward(self, items: Tensor) -> Tensor:
        """What the pooled BTL makes of items, in logits, 0 without it: Float64[... items]."""
        if self.base is None:
            return items.new_zeros(items.shape[:-1], dtype=torch.float64)
        return self.base.features(items)[1].double()

    def preference(self, fitted: Fitted, a: Tensor, b: Tensor, *, temperature: float | Tensor = 1.0) -> Tensor:
        """P(a preferred to b), averaged over the posterior: Float[... users pairs]."""
        mean, variance = self.gap(fitted, a, b)
        return expected_sigmoid(mean / temperature, variance / temperature**2).to(a.dtype)

    @torch.no_grad()
    def fit_basis(self, items: Tensor) -> None:
        """Principal components of standardised training items Float[items dim]."""
        scatter = items.double().T @ items.double() / len(items)
        values, vectors = torch.linalg.eigh(scatter)
        size = self.basis.shape[1]
        kept = values.flip(0)[:size].clamp(min=0).sum()
        self.basis.copy_(vectors.flip(1)[:, :size] / kept.clamp(min=1e-12).sqrt())


def fit_population(
    network_class: type[N], config: GaussianConfig, data: FitData, training: TrainingConfig, run: Run
) -> N:
    """All that comes before users differ: features, and the pooled BTL, in logits.

    The pooled BTL is trained on the same choices with the same budget, as `base` inside the run's folder; its
    temperature is folded into its last layer.
    """
    dim = data.raw.shape[1]
    network = network_class(dim, config.model_copy(update={"components": min(config.components, dim)}))
    network.standardizer.load_state_dict(data.standardizer.state_dict())
    network.fit_basis(data.vectors[data.used])
    if network.base is not None:
        pooled = PooledBTL.fit(
            data.choices,
            data.raw,
            validation=data.validation,
            target_groups=data.target_groups,
            config=RewardConfig(dropout=config.dropout),
            training=training,
            name=f"{run.name}-base",
            folder=run.folder / "base" if run.folder else None,
            on_event=run.on_event,
        )
        network.base.load_state_dict(pooled.network.head.state_dict())
        with torch.no_grad():
            for parameter in list(network.base.net.children())[-1].parameters():
                parameter.div_(pooled.temperature)
        network.base.requires_grad_(False)
    return network.eval()
