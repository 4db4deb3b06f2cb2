"""The mean-variance model (distributional preference learning, DPL): an item's reward is Gaussian.

With independent rewards r_i ~ Normal(m_i, s_i^2),

    P(w over l) = Phi(u),    u = (m_w - m_l) / sqrt(s_w^2 + s_l^2)

(m, s) have a free common scale: multiplying both by one constant changes nothing.

Two links. `"normal"` is the model above. `"dpl"` keeps the published -softplus(-sqrt(2 pi) u), a logistic that is
pi / 2 times steeper at u = 0 than Phi (equal slopes would need sqrt(8 / pi) in place of sqrt(2 pi)).
Source: Siththaranjan, Laidlaw and Hadfield-Menell (2024), "Distributional preference learning: understanding and
accounting for hidden context in RLHF", ICLR.
"""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid
from torch.special import log_ndtr

__all__ = ["Link", "log_prob", "sample"]

Link = Literal["normal", "dpl"]


def log_prob(
    mean_chosen: Tensor, scale_chosen: Tensor, mean_rejected: Tensor, scale_rejected: Tensor, *, link: Link = "normal"
) -> Tensor:
    """Log-probability Float[...] that the chosen item won.

    Shapes: means and scales are broadcastable Float[...]; scales are standard deviations, at least 1e-6 (smaller
    ones may overflow float32).
    """
    u = (mean_chosen - mean_rejected) * (scale_chosen.square() + scale_rejected.square()).rsqrt()
    if link == "dpl":
        return logsigmoid(math.sqrt(2 * math.pi) * u)
    return log_ndtr(u)


def sample(
    mean_a: Tensor,
    scale_a: Tensor,
    mean_b: Tensor,
    scale_b: Tensor,
    *,
    link: Link = "normal",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw outcomes: Bool[...], True where `a` beat `b`; shapes as in `log_prob`."""
    win = log_prob(mean_a, scale_a, mean_b, scale_b, link=link).exp()
    return torch.rand(win.shape, generator=generator, dtype=win.dtype, device=win.device) < win
