"""FiLM, the paper's modulator: after chosen blocks, h <- h * gamma(z) + delta(z)."""

from collections.abc import Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from tacit.steering.modulator import Modulator, ModulatorConfig, Site, normal
from tacit.steering.modulators import modulators
from tacit.steering.sites import find_blocks

__all__ = ["FiLM", "FiLMConfig"]


class FiLMConfig(ModulatorConfig):
    """Settings of `FiLM`.

    Attributes:
        blocks: numbers of the transformer blocks to act after, negative ones from the end; None = all.
    """

    blocks: tuple[int, ...] | None = Field(default=None, min_length=1)


@modulators.register("film")
class FiLM(Modulator):
    """gamma(z) = 1 + C z + e c and delta(z) = D z + e d, per block and dimension, all zero before training.

    The constants c and d are what everybody gets, strangers too, weighed by e = `everybody`. Nothing folds this into an
    ordinary adapter: no module of a transformer scales the residual stream. Source: Perez et al., 2018 (arXiv
    1709.07871), eq. 2.
    """

    config_class = FiLMConfig

    def __init__(
        self, sites: Sequence[Site], latent: int, config: FiLMConfig, *, generator: torch.Generator | None = None
    ) -> None:
        super().__init__(sites, latent, config)
        width = 2 * max(site.outputs for site in self.sites)
        self.weight = normal((len(self.sites), width, latent), 0.0, generator)
        self.bias = normal((len(self.sites), width), 0.0, generator)

    @classmethod
    def find(cls, model: Any, config: FiLMConfig) -> list[Site]:
        """The chosen blocks."""
        return find_blocks(model, config.blocks)

    def respond(self, z: Tensor) -> Tensor:
        """[gamma - 1, delta]: Float[sites rows 2*outputs]."""
        return torch.einsum("swl,nl->snw", self.weight, z.to(self.weight.dtype)) + self.everybody * self.bias.unsqueeze(
            1
        )

    def change(self, site: int, inputs: Tensor, output: Tensor, signal: Tensor) -> Tensor:
        """H * gamma + delta."""
        scale, shift = signal.to(output.dtype).unsqueeze(1).chunk(2, dim=-1)
        return torch.addcmul(output + shift, output, scale)
