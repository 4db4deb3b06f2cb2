"""Several networks as one: their kernels averaged, and no surer of new items than they were found to be.

Members are trained alone, on the same frozen base, from different seeds, each without the groups (prompts) of a fold of
its own. With f_m the features of member m,

    r(y; z) = s M^(-1/2) sum_m f_m(y) . z_m + b(y),   z_m ~ N(0, I)

has the prior covariance s^2 mean_m f_m(y) . f_m(y'), the average of the members' kernels, and one Laplace posterior
over all z_m together. Side by side the members are again one network of the same kind, M times as wide, with zeros
where they do not touch. What one network makes of a few hundred items depends on its seed; the average does less.

A network knows the items it was trained on better than new ones, and is as sure of both. So s, how far users differ, is
not what training found but what does best where each member has not been: validation users, targets among the groups
that the member left out (and those that validation holds out anyway), contexts among the others. s = 0 is the pooled
reward. Where validation asks about groups that were trained on, members leave nothing out.

Sources: deep ensembles (Lakshminarayanan et al., 2017, arXiv 1612.01474), here averaged before inference instead of
after it; bagging and its out-of-bag estimates (Breiman, 1996).
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from tacit.episodes.episode import Episode
from tacit.episodes.hashing import hash_unit, mix
from tacit.rewards.calibration import measure
from tacit.rewards.episodic_fit import FitData
from tacit.rewards.heads.bilinear import BasedFeatures
from tacit.rewards.network import RewardNetwork

__all__ = ["fit_scale", "folds", "join_members"]

SCALES = (0.0, 0.25, 0.35, 0.5, 0.7, 0.85, 1.0, 1.2)


def folds(data: FitData, count: int, seed: int) -> list[FitData]:
    """The data of each of `count` members: a fold of the groups neither trains it nor serves it as context.

    Where validation asks about groups that train, items will not be new in use either: then every member has all data.
    """
    targets = data.target_groups
    if count == 1 or targets is None or bool(targets[data.choices.group].any()):
        return [data] * count
    fold = (hash_unit(torch.arange(len(targets)), mix(seed, 32)) * count).long()
    parts = [_without(data, fold == number, targets) for number in range(count)]
    return parts if min(part.choices.n_users for part in parts) >= 2 else [data] * count  # or hardly anything is left


def _without(data: FitData, held: Tensor, targets: Tensor) -> FitData:
    choices = data.choices.select(~held[data.choices.group].any(1))
    choices = choices.of_users((choices.counts > 0).nonzero().squeeze(1))
    return replace(data, choices=choices, target_groups=held | targets)


@torch.no_grad()
def fit_scale(members: Sequence[RewardNetwork], episodes: Sequence[list[Episode]]) -> float:
    """The s of least NLL, each member asked about episodes of its own."""

    def nll(scale: float) -> float:
        total = 0.0
        for member, own in zip(members, episodes, strict=True):
            last = _linear(_features(member).personal)[-1]
            kept = [parameter.clone() for parameter in last.parameters()]
            for parameter in last.parameters():
                parameter.mul_(scale)
            total += measure(member, own)["nll"]
            for parameter, value in zip(last.parameters(), kept, strict=True):
                parameter.copy_(value)
        return total

    return min(SCALES, key=nll)


@torch.no_grad()
def join_members(whole: RewardNetwork, members: Sequence[RewardNetwork], scale: float = 1.0) -> None:
    """Write the weights of trained members into `whole`, a network of `config.members` = their number.

    Their configs differ in `members` alone, and they share their base. Their temperatures play no part: users are
    inferred as in training, at temperature 1.
    """
    target, *sources = (_features(network) for network in (whole, *members))
    target.base.load_state_dict(sources[0].base.state_dict())
    ties: list[Tensor] = [member.log_nu for member in members if member.log_nu is not None]
    if whole.log_nu is not None:
        whole.log_nu.copy_(torch.stack(ties).mean())
    layers = [_linear(source.personal) for source in sources]
    wide = _linear(target.personal)
    for depth, layer in enumerate(wide):
        parts = [each[depth] for each in layers]
        last = depth == len(wide) - 1
        factor = scale * len(members) ** -0.5 if last else 1.0
        weights = [part.weight * factor for part in parts]
        layer.weight.copy_(torch.cat(weights) if depth == 0 else torch.block_diag(*weights))
        layer.bias.copy_(torch.cat([part.bias * factor for part in parts]))


def _features(network: RewardNetwork) -> BasedFeatures:
    features = network.head.net
    assert isinstance(features, BasedFeatures)
    return features


def _linear(network: nn.Sequential) -> list[nn.Linear]:
    return [layer for layer in network if isinstance(layer, nn.Linear)]
