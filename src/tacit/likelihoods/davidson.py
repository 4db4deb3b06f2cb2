"""Davidson's extension of Bradley-Terry-Luce to ties.

With d = a - b and a tie parameter nu > 0,

    P(a over b) : P(tie) : P(b over a)  =  exp(d / 2) : nu : exp(-d / 2)

so equal items tie with probability nu / (2 + nu), and nu -> 0 is Bradley-Terry-Luce.
Source: Davidson (1970), "On extending the Bradley-Terry model to accommodate ties in paired comparison
experiments", JASA 65.
"""

import torch
from torch import Tensor

__all__ = ["log_prob", "outcome_log_probs", "sample"]


def outcome_log_probs(a: Tensor, b: Tensor, log_nu: Tensor) -> Tensor:
    """Log-probabilities Float[... 3] of (a better, tie, b better); `log_nu` broadcasts with the scores."""
    half = 0.5 * (a - b)
    half, log_nu = torch.broadcast_tensors(half, log_nu)
    return torch.stack([half, log_nu, -half], dim=-1).log_softmax(dim=-1)


def log_prob(first: Tensor, second: Tensor, tie: Tensor, log_nu: Tensor) -> Tensor:
    """Log-probability Float[...] that `first` beat `second`, or that they tied where `tie` (Bool[...]) holds."""
    outcomes = outcome_log_probs(first, second, log_nu)
    return torch.where(tie, outcomes[..., 1], outcomes[..., 0])


def sample(a: Tensor, b: Tensor, log_nu: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw outcomes: Int64[...], 0 = `a` better, 1 = tie, 2 = `b` better."""
    probabilities = outcome_log_probs(a, b, log_nu).exp()
    flat = torch.multinomial(probabilities.reshape(-1, 3), 1, generator=generator)
    return flat.reshape(probabilities.shape[:-1])
