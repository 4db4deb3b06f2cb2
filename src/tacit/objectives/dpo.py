"""Objectives of the policy: pure functions of log-ratios, in nats.

`margin` Float[pairs] = log pi(w|x)/pi_ref(w|x) - log pi(l|x)/pi_ref(l|x), summed over tokens, of the chosen response w
against the rejected l. Each returns Float[pairs]; whoever trains takes the (weighted) mean.
"""

import torch
from torch import Tensor
from torch.nn.functional import huber_loss, logsigmoid

__all__ = ["distilled_loss", "preference_loss"]


def preference_loss(margin: Tensor, *, beta: float = 0.1, tie: Tensor | None = None) -> Tensor:
    """-log sigmoid(beta margin) (Rafailov et al., 2023, arXiv 2305.18290, eq. 7).

    Args:
        margin: Float[pairs].
        beta: the KL weight of the optimum sought.
        tie: Bool[pairs], where neither was preferred: both orders then count half.
    """
    loss = -logsigmoid(beta * margin)
    return loss if tie is None else torch.where(tie, (loss - logsigmoid(-beta * margin)) / 2, loss)


def distilled_loss(margin: Tensor, gap: Tensor, *, beta: float = 0.1) -> Tensor:
    """Huber's loss between beta margin and `gap`, Float[pairs], what a reward says the two differ by in nats.

    Reward distillation (Fisch et al., 2024, arXiv 2405.19316, eq. 7) squares the difference; gaps of 20 nats, where the
    last nat hardly matters, would then outweigh all others.
    """
    return huber_loss(beta * margin, gap, reduction="none")
