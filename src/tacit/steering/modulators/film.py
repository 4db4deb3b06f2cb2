"""FiLM, the paper's modulator: after chosen blocks, h <- h * gamma(z) + delta(z)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from tacit.steering.modulators.modulator import Modulator, Site, normal

__all__ = ["FiLM"]


class FiLM(Modulator):
    """gamma(z) = 1 + C z + e c and delta(z) = D z + e d, per block and dimension, all zero before training.

    The constants c and d are what everybody gets, strangers too, weighed by e = `everybody`. Nothing folds this into an
    ordinary adapter: no module of a transformer scales the residual stream. Source: Perez et al., 2018 (arXiv
    1709.07871), eq. 2.
    """

    def __init__(self, sites: Sequence[Site], latent: int, *, generator: torch.Generator | None = None) -> None:
        super().__init__(sites, latent)
        width = 2 * max(site.outputs for site in self.sites)
        self.weight = normal((len(self.sites), width, latent), 0.0, generator)
        self.bias = normal((len(self.sites), width), 0.0, generator)

    def respond(self, z: Tensor) -> Tensor:
        """[gamma - 1, delta]: Float[sites rows 2*outputs]."""
        return torch.einsum("swl,nl->snw", self.weight, z.to(self.weight.dtype)) + self.everybody * self.bias.unsqueeze(
            1
        )

    def change(self, site: int, inputs: Tensor, output: Tensor, signal: Tensor) -> Tensor:
        """H * gamma + delta."""
        scale, shift = signal.to(output.dtype).unsqueeze(1).chunk(2, dim=-1)
        return torch.addcmul(output + shift, output, scale)
