"""What is known of users: a diagonal Gaussian over the latent z, or a point where there is no doubt to speak of."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import log

import torch
from torch import Tensor

from tacit.errors import ConfigError

__all__ = ["LatentPosterior"]


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
