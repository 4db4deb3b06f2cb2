"""DPL (distributional preference learning): an item's reward is a Gaussian, disagreement shows as variance.

r(y) ~ N(m(y), s(y)^2) and P(w over l) = Phi((m_w - m_l) / sqrt(s_w^2 + s_l^2)). It models that users disagree without
asking who disagrees, so it cannot adapt. Source: Siththaranjan et al., 2024 (arXiv 2312.08358), mean-variance variant.
Deviations: the Gaussian link by default (`link="dpl"` is the published logistic one); (m, s), free up to a common
scale, are fixed by mean s = 1 over training items.
"""

from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from tacit.baselines import baselines
from tacit.baselines.pooled import PooledBTL
from tacit.choices.index import ChoiceIndex
from tacit.encoders.encoder import mlp
from tacit.encoders.posterior import LatentPosterior
from tacit.episodes.batch import ChoiceBatch
from tacit.errors import ChoiceError
from tacit.likelihoods import mean_variance
from tacit.rewards.config import RewardConfig
from tacit.rewards.heads.head import RewardHead
from tacit.rewards.network import RewardNetwork

__all__ = ["DPL", "PublishedDPL"]


class MeanVarianceHead(RewardHead):
    """m(y) and s(y) from one MLP; as a reward head it scores by m."""

    linear: ClassVar[bool] = True
    unit: Tensor

    def __init__(self, dim: int, *, hidden: tuple[int, ...], dropout: float) -> None:
        super().__init__()
        self.net = mlp([dim, *hidden, 2], dropout=dropout)
        self.register_buffer("unit", torch.ones(()))

    def read(self, items: Tensor) -> Tensor:
        """[m, s]: Float[... 2]."""
        mean, raw = self.net(items).unbind(-1)
        return torch.stack([mean / self.unit, raw.clamp(-8, 8).exp() / self.unit], dim=-1)

    def combine(self, features: Tensor, z: Tensor) -> Tensor:
        """The mean, whoever asks: Float[... users items]."""
        return features[..., 0].expand(*z.shape[:-1], features.shape[-2])


class MeanVarianceNetwork(RewardNetwork):
    """The pooled network with the mean-variance likelihood."""

    link: ClassVar[mean_variance.Link] = "normal"
    head: MeanVarianceHead

    def __init__(self, dim: int, config: RewardConfig, *, ties: bool = False) -> None:
        if config.personal or ties:
            raise ChoiceError("DPL is a pooled model of strict pairs; leave out ties, or use the pooled BTL")
        super().__init__(dim, config)
        hidden = config.head.settings.hidden
        self.head = MeanVarianceHead(self.standardizer.width, hidden=hidden, dropout=config.dropout)

    def log_prob_of(self, read: ChoiceBatch, z: Tensor) -> Tensor:
        """Log p of strict pairs: Float[samples users choices]."""
        if read.vectors.shape[2] != 2:
            raise ChoiceError("DPL is a model of pairs; leave out rankings, or use the pooled BTL")
        mean, scale = read.vectors.unbind(-1)
        value = mean_variance.log_prob(mean[..., 0], scale[..., 0], mean[..., 1], scale[..., 1], link=self.link)
        return value.expand(z.shape[0], *value.shape)

    def preference(
        self, posterior: LatentPosterior, a: Tensor, b: Tensor, *, temperature: float | Tensor = 1.0
    ) -> Tensor:
        """P(a preferred to b): Float[users pairs], the same for every user; both spreads grow with the temperature."""
        (ma, sa), (mb, sb) = self.head.read(a).unbind(-1), self.head.read(b).unbind(-1)
        p = mean_variance.log_prob(ma, temperature * sa, mb, temperature * sb, link=self.link).exp()
        return p.broadcast_to(torch.broadcast_shapes(p.shape, (posterior.mean.shape[0], a.shape[-2])))

    def settle(self, items: Tensor) -> None:
        """Fix the common scale: mean s = 1 over the training items."""
        self.head.unit.mul_(self.head.read(items)[..., 1].mean())


class PublishedMeanVarianceNetwork(MeanVarianceNetwork):
    """The same with the published logistic link."""

    link: ClassVar[mean_variance.Link] = "dpl"


@baselines.register("dpl")
class DPL(PooledBTL):
    """The mean-variance model as a `PreferenceModel` (users change nothing)."""

    name: ClassVar[str] = "dpl"
    label: ClassVar[str] = "DPL"
    network_class: ClassVar[type[RewardNetwork]] = MeanVarianceNetwork

    @classmethod
    def fit(cls, choices: ChoiceIndex, vectors: Tensor, **settings: Any) -> Self:
        """`fit_reward` with the mean-variance likelihood; `settings` are its other arguments."""
        return super().fit(choices, vectors, **{"name": cls.name, **settings})


class PublishedDPL(DPL):
    """With the published link -softplus(-sqrt(2 pi) u)."""

    name: ClassVar[str] = "dpl_published"
    network_class: ClassVar[type[RewardNetwork]] = PublishedMeanVarianceNetwork
