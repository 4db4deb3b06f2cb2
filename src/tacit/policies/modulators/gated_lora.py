"""Latent-gated LoRA: y = W x + s B (g(z) * A x), a low-rank update whose directions a user turns up and down."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tacit.policies.modulators.modulator import Modulator, Site, normal

__all__ = ["GatedLoRA"]


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

    def __init__(
        self,
        sites: Sequence[Site],
        latent: int,
        *,
        rank: int = 8,
        alpha: float = 16.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(sites, latent)
        self.rank, self.strength = rank, alpha / rank
        self.down = nn.ParameterList(normal((rank, site.inputs), site.inputs**-0.5, generator) for site in self.sites)
        self.up = nn.ParameterList(torch.zeros(rank, site.outputs) for site in self.sites)  # B^T: read row by row
        self.gate = normal((len(self.sites), rank, latent), latent**-0.5, generator)

    def respond(self, z: Tensor) -> Tensor:
        """The gates times the scale, s g(z): Float[sites rows rank]."""
        return self.strength * (self.everybody + torch.einsum("srl,nl->snr", self.gate, z.to(self.gate.dtype)))

    def change(self, site: int, inputs: Tensor, output: Tensor, signal: Tensor) -> Tensor:
        """W x + B (s g(z) * A x)."""
        down, up = self.down[site], self.up[site]
        if down.dtype != inputs.dtype:
            down, up, signal = down.to(inputs.dtype), up.to(inputs.dtype), signal.to(inputs.dtype)
        moved = ((inputs @ down.T) * signal.unsqueeze(1)).flatten(0, 1)
        # One product that adds in place of a product and a sum: no second tensor as large as the output. Where nobody
        # asks for gradients not even a first: what a linear map has just put out is nobody else's.
        flat = output.flatten(0, 1)
        fresh = torch.is_grad_enabled() or flat.dtype != moved.dtype  # autocast knows `addmm` alone
        return (torch.addmm(flat, moved, up) if fresh else flat.addmm_(moved, up)).view_as(output)

    def fold(self, z: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """The ordinary LoRA of one z, Float[latent]: per site name, A Float[rank inputs] and B' Float[outputs rank]."""
        signal = self.signal(z.unsqueeze(0))[:, 0]
        return {
            site.name: (self.down[number].detach().clone(), (self.up[number].T * signal[number]).detach())
            for number, site in enumerate(self.sites)
        }
