"""Plackett-Luce: a ranking is a sequence of choices of the best among those that remain.

    P(1 > 2 > ... > n) = prod_i exp(s_i) / sum_{j >= i} exp(s_j)

Tied ranks are handled by Breslow's approximation: every item of a tied block is a winner against the whole
block and all below it, so a block B with R = B and what stands below contributes
`sum_B s - |B| log sum_R exp(s)`. It is cheap, concave and pulls tied items together; like all tie corrections it
is a likelihood up to a constant, not a normalised distribution.
Sources: Plackett (1975), "The analysis of permutations", Applied Statistics 24; Breslow (1974), "Covariance
analysis of censored survival data", Biometrics 30.
"""

import torch
from torch import Tensor

__all__ = ["log_prob", "sample"]


def log_prob(scores: Tensor, rank: Tensor) -> Tensor:
    """Log-probability Float[...] of rankings.

    Shapes:
        scores: Float[... slots], items best first; anything finite in padding.
        rank: Int[... slots], 0 = best, non-decreasing, equal = tie; padding slots hold -1 and stand last.

    Fewer than two real slots give 0.
    """
    real = rank >= 0
    # Stages are computed from the worst item up. Padding comes first in that order, as an item so poor that it adds
    # nothing, and yet finite: -inf has no gradient in logcumsumexp.
    scores = torch.where(real, scores, 0.0)
    poorest = torch.finfo(scores.dtype).min / 4
    remaining = torch.where(real, scores, poorest).flip(-1).logcumsumexp(-1).flip(-1)
    # All items of a tied block face the alternatives of the block's first slot.
    slot = torch.arange(rank.shape[-1], device=rank.device).expand_as(rank)
    opens = torch.ones_like(real)
    opens[..., 1:] = rank[..., 1:] != rank[..., :-1]
    block = torch.where(opens, slot, 0).cummax(-1).values
    return torch.where(real, scores - remaining.gather(-1, block), 0.0).sum(-1)


def sample(scores: Tensor, mask: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
    """Draw rankings: Int64[... slots], the slots best first; slots where `mask` (Bool[... slots]) is False come last.

    A ranking is the descending order of scores plus independent Gumbel noise (Yellott, 1977).
    """
    uniform = torch.rand(scores.shape, generator=generator, dtype=scores.dtype, device=scores.device)
    tiny = torch.finfo(scores.dtype).tiny
    noisy = scores - (-uniform.clamp_min(tiny).log()).clamp_min(tiny).log()
    if mask is not None:
        noisy = noisy.masked_fill(~mask, float("-inf"))
    return noisy.argsort(dim=-1, descending=True, stable=True)
