"""Latent-gated LoRA: y = W x + s B (g(z) * A x), a low-rank update whose directions a user turns up and down."""

from collections.abc import Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from tacit.steering.modulator import Change, Lora, Modulator, ModulatorConfig, Site, normal
from tacit.steering.modulators import modulators
from tacit.steering.sites import find_blocks, find_linears

__all__ = ["GatedLoRA", "GatedLoRAConfig"]


class GatedLoRAConfig(ModulatorConfig):
    """Settings of `GatedLoRA`.

    Attributes:
        rank, alpha: updates of that rank are scaled by alpha / rank.
        targets: last names of the linear maps to change, such as `q_proj`; None = all of the chosen blocks.
        blocks: numbers of the transformer blocks, negative ones from the end; None = all.
    """

    rank: int = Field(default=8, ge=1, le=1024)
    alpha: float = Field(default=16.0, gt=0)
    targets: tuple[str, ...] | None = Field(default=None, min_length=1)
    blocks: tuple[int, ...] | None = Field(default=None, min_length=1)


@modulators.register("gated_lora")
class GatedLoRA(Modulator):
    """g(z) = e + G z, per site and rank; s = alpha / rank.

    A stranger's z is 0, so their policy is an ordinary LoRA, as trained for everybody, of the weight e (`everybody`):
    where users agree on little, all that it could learn is noise. The gate is linear because what
    a policy is asked for is: under the reward r = f . z + b the best policy's log-ratio to its reference is
    (f . z + b) / beta + const, linear in z (Rafailov et al., 2023, eq. 4). For one z the update is the LoRA with
    B' = s B diag(g(z)), so a user's policy folds into an ordinary adapter (`fold`).

    B starts at zero, which makes the start the reference; A and G start at random, so that users differ as soon as B
    moves: with G at zero too, the gradient that could tell users apart would vanish at first and stay small.

    Sources: LoRA (Hu et al., 2021, arXiv 2106.09685).
    """

    config_class = GatedLoRAConfig

    def __init__(
        self, sites: Sequence[Site], latent: int, config: GatedLoRAConfig, *, generator: torch.Generator | None = None
    ) -> None:
        super().__init__(sites, latent, config)
        rank, self.strength = config.rank, config.alpha / config.rank
        self.down = nn.ParameterList(normal((rank, site.inputs), site.inputs**-0.5, generator) for site in self.sites)
        self.up = nn.ParameterList(torch.zeros(rank, site.outputs) for site in self.sites)  # B^T: read row by row
        self.gate = normal((len(self.sites), rank, latent), latent**-0.5, generator)

    @classmethod
    def find(cls, model: Any, config: GatedLoRAConfig) -> list[Site]:
        """The linear maps of the chosen blocks."""
        return find_linears(model, find_blocks(model, config.blocks), config.targets)

    def respond(self, z: Tensor) -> Tensor:
        """The gates times the scale, s g(z): Float[sites rows rank]."""
        return self.strength * (self.everybody + torch.einsum("srl,nl->snr", self.gate, z.to(self.gate.dtype)))

    def change(self, site: int, inputs: Tensor, output: Tensor, signal: Tensor) -> Tensor:
        """W x + B (s g(z) * A x)."""
        down, up = self.down[site], self.up[site]
        if down.dtype != inputs.dtype:
            down, up, signal = down.to(inputs.dtype), up.to(inputs.dtype), signal.to(inputs.dtype)
        moved = ((inputs @ down.T) * signal.unsqueeze(1)).flatten(0, 1)
        # One product that adds in place of a product and a sum: no second tensor as large as the output.
        return torch.addmm(output.flatten(0, 1), moved, up).view_as(output)

    def serve(self, signal: Tensor, groups: Sequence[Sequence[int]], dtype: torch.dtype) -> Change:
        """The same, with one A x for all sites of the same inputs."""
        return _Served(self, signal, groups, dtype)

    def fold(self, z: Tensor) -> Lora:
        """A and B' = s B diag(g(z)) of every site."""
        return self._lora(self.signal(z.unsqueeze(0))[:, 0])

    def basis(self) -> list[Lora]:
        """First e, what everybody gets, then each column of G: g is linear in the scaled z."""
        columns = torch.cat([self.everybody.expand(*self.gate.shape[:2], 1), self.gate], -1)
        return [self._lora(self.strength * column) for column in columns.unbind(-1)]

    def _lora(self, signal: Tensor) -> Lora:
        """Of a signal Float[sites rank]; copies, so that training on changes none of them."""
        return {
            site.name: (self.down[number].detach().clone(), (self.up[number].T * signal[number]).detach())
            for number, site in enumerate(self.sites)
        }


class _Served(Change):
    """`GatedLoRA.change` for the rows of one request, without gradients.

    While a large model writes, every weight comes from main memory, and whatever else it needs has been driven out of
    the caches by then: a view that costs a microsecond elsewhere costs ten after a large map. So as much as can be is
    done before the map, weights and gates are made ready once, queries, keys and values have their A x from one product
    (and so have the two ways into a gated MLP), and outputs, which nobody else has seen yet, are added to in place.
    """

    def __init__(self, lora: GatedLoRA, signal: Tensor, groups: Sequence[Sequence[int]], dtype: torch.dtype) -> None:
        self._sites: dict[int, tuple[_Product, int, Tensor]] = {}
        for group in groups:
            down = [lora.down[site].detach().to(dtype) for site in group]
            product = _Product(down, [signal[site].to(dtype) for site in group])
            for place, site in enumerate(group):
                self._sites[site] = product, place, lora.up[site].detach().to(dtype)

    def read(self, site: int, inputs: Tensor) -> Tensor:
        """The site's s g(z) * A x: Float[rows*tokens rank], of inputs Float[rows tokens inputs]."""
        product, place, _ = self._sites[site]
        if place == 0 or inputs is not product.inputs:
            product.read(inputs)
        part = product.parts[place]
        if place == product.last:
            product.forget()
        return part

    def write(self, site: int, noted: Tensor, output: Tensor) -> Tensor:
        """W x + B (s g(z) * A x), of output Float[rows tokens outputs]."""
        up, flat = self._sites[site][2], output.flatten(0, 1)
        if output.dtype is up.dtype is noted.dtype and output.is_contiguous():
            flat.addmm_(noted, up)
            return output
        return torch.addmm(flat, noted.to(output.dtype), up.to(output.dtype)).view_as(output)


class _Product:
    """s g(z) * A x of sites that are given the same inputs, computed when the first of them runs.

    Attributes:
        inputs: the x at hand.
        parts: of each site, Float[rows*tokens rank].
    """

    def __init__(self, down: list[Tensor], gates: list[Tensor]) -> None:
        self.last = len(down) - 1
        self._down = (torch.cat(down) if self.last else down[0]).T
        self._gates = torch.cat(gates, -1).unsqueeze(1)
        self.forget()

    def read(self, inputs: Tensor) -> None:
        """Compute it, of Float[rows tokens inputs]."""
        down, gates = self._down, self._gates
        if inputs.dtype is not down.dtype:  # a module with a precision of its own
            down, gates = down.to(inputs.dtype), gates.to(inputs.dtype)
        moved = (inputs @ down).mul_(gates).flatten(0, 1)
        self.inputs, self.parts = inputs, moved.chunk(self.last + 1, 1) if self.last else (moved,)

    def forget(self) -> None:
        """After the last site: a prompt's inputs are large."""
        self.inputs: Tensor | None = None
        self.parts: Sequence[Tensor] = ()
