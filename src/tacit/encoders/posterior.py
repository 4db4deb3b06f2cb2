"""What is known of users: a Gaussian over the latent z, a point where there is no doubt, or a mixture of Gaussians."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import log

import torch
from torch import Tensor

from tacit.errors import ConfigError

__all__ = ["LatentPosterior", "MixturePosterior"]


@dataclass(frozen=True)
class LatentPosterior:
    """q(z | choices) for a batch of users.

    Shapes:
        mean: Float[users latent].
        scale: Float[users latent] standard deviations, or None for a deterministic encoder.
    """

    mean: Tensor
    scale: Tensor | None = None

    def rsample(self, samples: int, generator: torch.Generator | None = None) -> Tensor:
        """Reparameterised draws Float[samples users latent]; a deterministic posterior repeats its mean."""
        if self.scale is None:
            return self.mean.expand(samples, *self.mean.shape)
        noise = torch.randn(
            samples, *self.mean.shape, generator=generator, dtype=self.mean.dtype, device=self.mean.device
        )
        return self.mean + self.scale * noise

    def draws(self, samples: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Z Float[draws users latent] with log weights Float[draws users] that sum to one over the draws.

        What a user is averaged over; without doubt one draw is enough, and all that is given.
        """
        samples = samples if self.scale is not None else 1
        z = self.rsample(samples, generator)
        return z, z.new_full(z.shape[:2], -log(samples))

    def along(self, f: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """F . z as Gaussians (weight, mean, variance), Float[users 1] and twice Float[users pairs].

        Directions f are Float[users pairs latent], or Float[pairs latent] shared by all users.
        """
        equation = "upl,ul->up" if f.ndim == 3 else "pl,ul->up"
        mean = torch.einsum(equation, f, self.mean)
        if self.scale is None:
            yield self.mean.new_ones(len(self.mean), 1), mean, torch.zeros_like(mean)
            return
        variance = torch.einsum(equation, f.square(), self.scale.square())
        yield self.mean.new_ones(len(self.mean), 1), mean, variance

    def float(self) -> "LatentPosterior":
        """The same in single precision."""
        return LatentPosterior(self.mean.float(), None if self.scale is None else self.scale.float())

    def kl(self, other: "LatentPosterior") -> Tensor:
        """KL(self || other) in nats, Float[users]; both must have a scale."""
        if self.scale is None or other.scale is None:
            raise ConfigError("a deterministic encoder has no KL divergence: choose a variational one")
        ratio = (self.scale / other.scale).square()
        shift = ((self.mean - other.mean) / other.scale).square()
        return 0.5 * (ratio + shift - 1 - ratio.log()).sum(-1)


@dataclass(frozen=True, kw_only=True)
class MixturePosterior(LatentPosterior):
    """sum_c w_c N(m_c, F_c F_c^T) for a batch of users; `mean` and `scale` are those of the whole mixture.

    Shapes:
        log_weight: Float[users components], log w, normalised.
        means: Float[users components latent].
        factors: Float[users components latent latent].
    """

    log_weight: Tensor
    means: Tensor
    factors: Tensor

    @classmethod
    def of(cls, log_weight: Tensor, means: Tensor, factors: Tensor) -> "MixturePosterior":
        """The mixture, with its overall mean and standard deviations worked out."""
        if log_weight.shape[1] == 1:
            mean, scale = means.squeeze(1), factors.square().sum(-1).sqrt().squeeze(1)
            return cls(mean=mean, scale=scale, log_weight=log_weight, means=means, factors=factors)
        weight = log_weight.exp().unsqueeze(-1)
        mean = (weight * means).sum(1)
        spread = factors.square().sum(-1) + (means - mean.unsqueeze(1)).square()
        scale = (weight * spread).sum(1).sqrt()
        return cls(mean=mean, scale=scale, log_weight=log_weight, means=means, factors=factors)

    def draws(self, samples: int, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Z Float[draws users latent] and log weights Float[draws users]: as many draws of every component, weighted.

        Weights instead of a random component: they carry gradients, and vary less. At least one draw of each.
        """
        users, components, latent = self.means.shape
        each = max(1, samples // components)
        noise = torch.randn(
            each, users, components, latent, generator=generator, dtype=self.means.dtype, device=self.means.device
        )
        z = self.means + torch.einsum("ucij,sucj->suci", self.factors, noise)
        log_weight = (self.log_weight - log(each)).T.expand(each, components, users)
        return z.transpose(1, 2).flatten(0, 1), log_weight.flatten(0, 1)

    def along(self, f: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """F . z component by component: (weight, mean, variance), Float[users 1] and twice Float[users pairs]."""
        own = f.ndim == 3
        for component in range(self.means.shape[1]):
            mean = torch.einsum("upl,ul->up" if own else "pl,ul->up", f, self.means[:, component])
            turned = torch.einsum("upl,ulm->upm" if own else "pl,ulm->upm", f, self.factors[:, component])
            yield self.log_weight[:, component, None].exp(), mean, turned.square().sum(-1)

    def kl(self, other: LatentPosterior) -> Tensor:
        """KL(self || other) in nats, Float[users], of two Gaussians.

        Raises:
            ConfigError: a mixture of several has none in closed form.
        """
        if not isinstance(other, MixturePosterior) or self.means.shape[1] > 1 or other.means.shape[1] > 1:
            raise ConfigError(
                "a mixture posterior has no KL divergence in closed form: choose the predictive objective"
            )
        inverse = torch.linalg.inv(other.factors[:, 0])
        spread, shift = inverse @ self.factors[:, 0], (other.means - self.means)[:, 0].unsqueeze(-1)
        volume = torch.linalg.slogdet(spread)[1]
        squares = spread.square().sum((-2, -1)) + (inverse @ shift).square().sum((-2, -1))
        return 0.5 * (squares - self.means.shape[-1]) - volume

    def float(self) -> "MixturePosterior":
        """The same in single precision."""
        return MixturePosterior(**{name: value.float() for name, value in vars(self).items()})
