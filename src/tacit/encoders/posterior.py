"""What is known of users: a diagonal Gaussian over the latent z, or a point where there is no doubt to speak of."""

from dataclasses import dataclass

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

    def kl(self, other: "LatentPosterior") -> Tensor:
        """KL(self || other) in nats, Float[users]; both must have a scale."""
        if self.scale is None or other.scale is None:
            raise ConfigError("a deterministic encoder has no KL divergence: choose a variational one")
        ratio = (self.scale / other.scale).square()
        shift = ((self.mean - other.mean) / other.scale).square()
        return 0.5 * (ratio + shift - 1 - ratio.log()).sum(-1)
