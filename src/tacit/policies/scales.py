"""What z means to a modulator: how long it usually is, how long it will become, and what everybody gets beside it.

All is measured once, before training, and kept with the modulator's weights.
"""

import torch
from torch import Tensor

from tacit.policies.modulators import Modulator
from tacit.policies.pairs import PolicyPairs
from tacit.policies.teacher import Teacher

__all__ = ["reach", "set_scales", "shared_share", "usual"]

_SOME = 4096  # pairs looked at
_PROMPTS, _USERS = 64, 64
_POWERS = torch.linspace(1.0, 0.5, 51, dtype=torch.float64)


def set_scales(
    modulator: Modulator, pairs: PolicyPairs, known: Tensor, teacher: Teacher | None, *, told: bool = False
) -> None:
    """Set `unit`, `power` and `everybody` from what is trained on.

    Args:
        known: Float[users latent], z of every user of `pairs` from all their choices, or (`told`) whatever it is.
        teacher: what rewards say of its answers; None where nobody knows, and everybody is then as much as one unit.
    """
    some = torch.arange(0, len(pairs), -(-len(pairs) // _SOME))
    users = pairs.index.user[pairs.choice[some]]
    unit, power = (usual(known[users]), 1.0) if told else reach(pairs.inferred(some, 0), known[users])
    modulator.unit.fill_(unit)
    modulator.power.fill_(power)
    modulator.everybody.fill_(1.0 if teacher is None else shared_share(teacher, known))


def reach(drawn: Tensor, known: Tensor) -> tuple[float, float]:
    """The unit u and the power p with which z, divided by u and by its length to the power 1 - p, becomes `known`.

    A posterior mean from few choices is short. Under a Gaussian prior it would be as short as is right: what z can be
    expected to be when more is known. People whose tastes are all about equally strong are not Gaussian, their z comes
    out too short, the more so the fewer the choices, and their policies too timid. So the least-squares fit

        known ~ a |drawn|^(p - 1) drawn,    p in [0.5, 1]

    is taken; entries of `known` are then about 1 long. Where nothing is drawn, p = 1.

    Shapes: drawn Float[rows latent], from some choices; known Float[rows latent], from all choices of the same users.
    """
    drawn, known = drawn.double(), known.double()
    length = drawn.norm(dim=1, keepdim=True)
    there = length.squeeze(1) > 0
    if not there.any():
        return usual(known), 1.0
    drawn, known, length = drawn[there], known[there], length[there]
    tried = length ** (_POWERS - 1)  # rows powers
    along, own = (drawn * known).sum(1, keepdim=True), length.square()
    factor = (along * tried).sum(0) / (own * tried.square()).sum(0)
    explained = factor * (along * tried).sum(0)
    best = int(explained.argmax())
    power, grown = float(_POWERS[best]), float(factor[best])
    if grown <= 0:  # what is drawn says nothing of what is known
        return usual(known), 1.0
    return (usual(known) / grown * drawn.shape[1] ** ((1 - power) / 2)) ** (1 / power), power


def usual(z: Tensor) -> float:
    """The root mean square of z's entries, 1 where all are 0."""
    return (float(z.double().square().mean().sqrt()) if z.numel() else 0.0) or 1.0


def shared_share(teacher: Teacher, known: Tensor) -> float:
    """How far answers to a prompt differ in what users agree on, as a share of how far each user differs from that.

    At most 1. Standard deviations of rewards, over some prompts' answers and some users.
    """
    users = torch.arange(0, len(known), -(-len(known) // _USERS))
    prompts = torch.arange(0, len(teacher.answers), -(-len(teacher.answers) // _PROMPTS))
    shared, own = 0.0, 0.0
    for answers in teacher.answers[prompts]:
        there = answers[answers >= 0]
        if len(there) > 1:
            rewards = teacher.rewards(users, there.expand(len(users), -1), known[users]).double()
            rewards = rewards - rewards.mean(1, keepdim=True)
            shared += float(rewards.mean(0).square().mean())
            own += float((rewards - rewards.mean(0)).square().mean())
    return 1.0 if shared >= own else (shared / own) ** 0.5
