"""A soft user token, as P-RLHF has it: z changes the embedding of the token that every prompt begins with."""

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from tacit.errors import ConfigError
from tacit.steering.modulator import Modulator, ModulatorConfig, Site
from tacit.steering.modulators import modulators
from tacit.steering.sites import find_begin, find_embeddings

__all__ = ["SoftToken", "SoftTokenConfig"]


class SoftTokenConfig(ModulatorConfig):
    """`SoftToken` has nothing to set."""


@modulators.register("soft_token")
class SoftToken(Modulator):
    """The first token's embedding plus W z + e w, all zero before training, e = `everybody`; a baseline.

    P-RLHF puts vectors of a user before the prompt (Li et al., 2024, arXiv 2402.05133, section 4). A base whose prompts
    all begin with one and the same token has a place for one such vector there. Theirs is looked up for known users;
    this one comes from z, so that strangers have one too.

    Attributes:
        begin: the number of the token that prompts begin with, saved with the weights.
    """

    config_class = SoftTokenConfig
    begin: Tensor

    def __init__(
        self, sites: Sequence[Site], latent: int, config: SoftTokenConfig, *, generator: torch.Generator | None = None
    ) -> None:
        super().__init__(sites, latent, config)
        self.register_buffer("begin", torch.zeros((), dtype=torch.int64))
        self.weight = nn.Parameter(torch.zeros(self.sites[0].outputs, latent))
        self.bias = nn.Parameter(torch.zeros(self.sites[0].outputs))

    @classmethod
    def find(cls, model: Any, config: SoftTokenConfig) -> list[Site]:
        """The table of input embeddings, which is asked with token numbers."""
        return [find_embeddings(model)]

    @classmethod
    def build(cls, model: Any, latent: int, config: SoftTokenConfig, generator: torch.Generator | None = None) -> Self:
        """Of a model that names the token its prompts begin with."""
        made = super().build(model, latent, config, generator)
        made.begin.fill_(find_begin(model))
        return made

    def respond(self, z: Tensor) -> Tensor:
        """W z + e w: Float[1 rows outputs]."""
        return (z.to(self.weight.dtype) @ self.weight.T + self.everybody * self.bias).unsqueeze(0)

    def change(self, site: int, inputs: Tensor, output: Tensor, signal: Tensor) -> Tensor:
        """Only where `inputs`, Int64[rows tokens], are the token that prompts begin with."""
        if inputs.is_floating_point():
            raise ConfigError("this base does not hand its embeddings token numbers, so 'soft_token' cannot steer it")
        here = (inputs == self.begin).unsqueeze(-1)
        return torch.where(here, output + signal.to(output.dtype).unsqueeze(1), output)

    def check(self, prompt: Sequence[int], *, chat: bool) -> None:
        """Refuse prompts that do not begin with the token, or have it elsewhere, or lose it where they are cut."""
        begin = int(self.begin)
        if chat or list(prompt[:1]) != [begin] or begin in prompt[1:]:
            raise ConfigError(
                "modulator 'soft_token' needs plain prompts that begin with the base's bos token and have no other; "
                "use template=plain, or modulator 'gated_lora'"
            )
