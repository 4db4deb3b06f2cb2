"""One likelihood for every kind of choice: pairs, ties and rankings in one padded tensor."""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from tacit.likelihoods import davidson, plackett_luce

__all__ = ["choice_log_prob"]


def choice_log_prob(scores: Tensor, rank: Tensor, log_nu: Tensor | None = None) -> Tensor:
    """Log-probability Float[...] of choices, whatever their kind.

    Shapes:
        scores: Float[... slots], the rewards of the items, best first; anything finite in padding.
        rank: Int[... slots], 0 = best, non-decreasing, equal = tie, -1 = padding (last).
        log_nu: Float[] or broadcastable to Float[...], Davidson's tie parameter, or None.

    - Two real slots are a pair, however wide the padding: Bradley-Terry-Luce, or Davidson where `log_nu` is given.
    - A tied pair without `log_nu` counts half for each order, which is Davidson's likelihood as nu -> 0 up to a
      constant. A model with few ties needs no extra parameter.
    - More real slots are a Plackett-Luce ranking, its ties by Breslow's approximation.
    - Fewer than two real slots give 0, and no gradient.

    Stable in float32 for scores up to 1e4 in magnitude, and so are the gradients.
    """
    pairs = _pair(scores[..., :2], rank[..., :2], log_nu)
    if rank.shape[-1] == 2:
        return pairs
    return torch.where(rank[..., 2] >= 0, plackett_luce.log_prob(scores, rank), pairs)


def _pair(scores: Tensor, rank: Tensor, log_nu: Tensor | None) -> Tensor:
    real, tie = rank[..., 1] >= 0, rank[..., 1] == 0
    gap = torch.where(real, scores[..., 0] - scores[..., 1], 0.0)
    if log_nu is not None:
        value = davidson.log_prob(gap, torch.zeros_like(gap), tie, log_nu)
    else:
        value = torch.addcmul(logsigmoid(gap), gap, 0.5 * tie, value=-1)  # the mean of both orders where tied
    return torch.where(real, value, 0.0)
