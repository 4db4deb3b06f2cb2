"""What z means to a modulator: how long it usually is, how long it will become, and what everybody gets beside it.

All is measured once, before training, and kept with the modulator's weights.
"""

import math

import torch
from torch import Tensor

from tacit.errors import ConfigError
from tacit.policies.pairs import PolicyPairs
from tacit.policies.teacher import Teacher
from tacit.steering.modulator import Modulator

__all__ = ["reach", "set_scales", "shared_share", "usual"]

_SOME = 4096  # pairs looked at
_PROMPTS, _USERS = 64, 64
_LEAST = 0.05  # of everybody: what they agree on can still be learnt where the reward model knows of nothing
_POWERS = torch.linspace(1.0, 0.5, 51, dtype=torch.float64)


def set_scales(
    modulator: Modulator, pairs: PolicyPairs, known: Tensor, teacher: Teacher | None, *, told: bool = False
) -> None:
    """Set `unit`, `power` and `everybody` from what is trained on.

    Args:
        known: Float[users latent], z of every user of `pairs` from all their choices, or (`told`) whatever it is.
        teacher: what rewards say of its answers; None where nobody knows, and everybody then stays as much as one unit.

    Raises:
        ConfigError: rewards that are not finite.
    """
    some = torch.arange(0, len(pairs), -(-len(pairs) // _SOME))
    users = pairs.index.user[pairs.choice[some]]
    unit = usual(known[users])
    modulator.unit.fill_(unit)
    modulator.power.fill_(1.0 if told else reach(pairs.inferred(some, 0), known[users], unit))
    there = (pairs.index.counts > 0).nonzero().squeeze(1)
    if teacher is not None and known[there].any():
        modulator.everybody.fill_(max(_LEAST, shared_share(teacher, there, known)))


def usual(z: Tensor) -> float:
    """The root mean square of z's entries, 1 where all are 0."""
    return (float(z.double().square().mean().sqrt()) if z.numel() else 0.0) or 1.0


def reach(drawn: Tensor, known: Tensor, unit: float) -> float:
    """The power p in [0.5, 1] with which z from some choices best becomes z from all choices of the same users.

    A posterior mean from few choices is short. Under a Gaussian prior it would be as short as is right: what z can be
    expected to be when more is known. People whose tastes are all about equally strong are not Gaussian, their z comes
    out too short, the more so the fewer the choices, and their policies too timid. So the power of least squares in

        known ~ (|drawn| / c)^(p - 1) drawn,    c = unit times the square root of z's size,

    is taken. It leaves a z of the usual length as long as it is, and makes shorter ones longer.

    Shapes: drawn Float[rows latent], from some choices; known Float[rows latent], from all choices of the same users.
    """
    drawn, known = drawn.double(), known.double()
    length = drawn.norm(dim=1, keepdim=True) / (unit * drawn.shape[1] ** 0.5)
    there = length.squeeze(1) > 0
    if not there.any():
        return 1.0
    tried = length[there] ** (_POWERS - 1)  # rows powers
    along, own = (drawn * known)[there].sum(1, keepdim=True), drawn[there].square().sum(1, keepdim=True)
    distance = (tried.square() * own - 2 * tried * along).sum(0)
    return float(_POWERS[int(distance.argmin())])


def shared_share(teacher: Teacher, users: Tensor, known: Tensor) -> float:
    """How far answers to a prompt differ in what `users` agree on, as a share of how far each differs from that.

    At most 1. Standard deviations of rewards, over some prompts' answers and some users; what some users agree on by
    chance is taken off.

    Shapes: users Int64[chosen]; known Float[users latent].

    Raises:
        ConfigError: rewards that are not finite.
    """
    users = users[:: -(-len(users) // _USERS)]
    taught = teacher.prompt_of.unique()
    prompts = taught[:: -(-len(taught) // _PROMPTS)]
    shared, own = 0.0, 0.0
    for answers in teacher.answers[prompts]:
        there = answers[answers >= 0]
        if len(there) > 1:
            rewards = teacher.rewards(users, there.expand(len(users), -1), known[users]).double()
            rewards = rewards - rewards.mean(1, keepdim=True)
            shared += float(rewards.mean(0).square().mean())
            own += float((rewards - rewards.mean(0)).square().mean())
    if not math.isfinite(shared + own):
        raise ConfigError("the rewards of the known answers are not finite, so nothing can be learnt from them")
    shared = max(0.0, shared - own / max(1, len(users) - 1))
    return 1.0 if shared >= own else (shared / own) ** 0.5
