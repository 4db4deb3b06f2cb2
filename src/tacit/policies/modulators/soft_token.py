"""A soft user token, as P-RLHF has it: z changes the embedding of the token that every prompt begins with."""

import torch
from torch import Tensor

from tacit.errors import ConfigError
from tacit.policies.modulators.modulator import Modulator, Site, normal

__all__ = ["SoftToken"]


class SoftToken(Modulator):
    """The first token's embedding plus W z + w, all zero before training; a baseline.

    P-RLHF puts vectors of a user before the prompt (Li et al., 2024, arXiv 2402.05133, section 4). A base whose prompts
    all begin with one and the same token has a place for one such vector there. Theirs is looked up for known users;
    this one comes from z, so that strangers have one too.

    Args:
        site: the table of input embeddings, which is asked with token numbers.
        begin: the number of the token that prompts begin with.
    """

    def __init__(self, site: Site, latent: int, *, begin: int) -> None:
        super().__init__([site], latent)
        self.begin = begin
        self.weight = normal((site.outputs, latent), 0.0, None)
        self.bias = normal((site.outputs,), 0.0, None)

    def respond(self, z: Tensor) -> Tensor:
        """W z + w: Float[1 rows outputs]."""
        return (z.to(self.weight.dtype) @ self.weight.T + self.bias).unsqueeze(0)

    def change(self, site: int, inputs: Tensor, output: Tensor, signal: Tensor) -> Tensor:
        """Only where `inputs`, Int64[rows tokens], are the token that prompts begin with."""
        here = (inputs == self.begin).unsqueeze(-1)
        return torch.where(here, output + signal.to(output.dtype).unsqueeze(1), output)

    def check(self, prompt: list[int]) -> None:
        """Refuse a tokenizer that begins a prompt with anything else, where this would do nothing."""
        if prompt[:1] != [self.begin]:
            raise ConfigError(
                "modulator 'soft_token' needs a base whose prompts begin with its bos token; use 'gated_lora'"
            )
