"""Objectives of the policy: pure functions of log-ratios, in nats.

`margin` Float[pairs] = log pi(w|x)/pi_ref(w|x) - log pi(l|x)/pi_ref(l|x), summed over tokens, of the chosen response w
against the rejected l. Each returns Float[pairs]; whoever trains takes the (weighted) mean.
"""

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import huber_loss, logsigmoid

from tacit.errors import ConfigError

__all__ = ["PreferenceLoss", "distilled_loss", "preference_loss"]

PreferenceLoss = Literal["sigmoid", "ipo", "robust"]


def preference_loss(
    margin: Tensor,
    *,
    kind: PreferenceLoss = "sigmoid",
    beta: float = 0.1,
    noise: float = 0.0,
    tie: Tensor | None = None,
) -> Tensor:
    """The loss of each pair.

    Args:
        margin: Float[pairs].
        kind: `sigmoid`, -log sigmoid(beta margin) (Rafailov et al., 2023, arXiv 2305.18290, eq. 7); `ipo`,
            (margin - 1 / (2 beta))^2 (Azar et al., 2023, arXiv 2310.12036, eq. 17); `robust`, the sigmoid loss made
            unbiased under choices flipped with probability `noise` (Chowdhury et al., 2024, arXiv 2403.00409, eq. 12).
        beta: how dear it is to leave the reference; in `ipo` the margin aimed at is 1 / (2 beta).
        noise: share of flipped choices, below one half; `robust` only.
        tie: Bool[pairs], where neither was preferred: both orders then count half.

    Raises:
        ConfigError: an unknown kind, or a noise that it cannot use.
    """
    if kind not in get_args(PreferenceLoss):
        raise ConfigError(f"loss {kind!r} is unknown; choose from {', '.join(get_args(PreferenceLoss))}")
    if not 0 <= noise < 0.5 or (noise and kind != "robust"):
        raise ConfigError(f"noise {noise} with the loss {kind!r}; expected 0 or, with 'robust', less than one half")

    def one_way(signed: Tensor) -> Tensor:
        if kind == "ipo":
            return (signed - 1 / (2 * beta)).square()
        right, wrong = -logsigmoid(beta * signed), -logsigmoid(-beta * signed)
        return ((1 - noise) * right - noise * wrong) / (1 - 2 * noise)

    loss = one_way(margin)
    return loss if tie is None else torch.where(tie, (loss + one_way(-margin)) / 2, loss)


def distilled_loss(margin: Tensor, gap: Tensor, *, beta: float = 0.1) -> Tensor:
    """Huber's loss between beta margin and `gap`, Float[pairs], what a reward says the two differ by in nats.

    Reward distillation (Fisch et al., 2024, arXiv 2405.19316, eq. 7) squares the difference; gaps of 20 nats, where the
    last nat hardly matters, would then outweigh all others.
    """
    return huber_loss(beta * margin, gap, reduction="none")
