"""Several networks as one: their kernels averaged.

Members are trained alone, on the same frozen base, from different seeds. With f_m the features of member m,

    r(y; z) = M^(-1/2) sum_m f_m(y) . z_m + b(y),   z_m ~ N(0, I)

has the prior covariance mean_m f_m(y) . f_m(y'), the average of the members' kernels, and one Laplace posterior over
all z_m together. Side by side the members are again one network of the same kind, M times as wide, with zeros where
they do not touch. What one network makes of a few hundred items depends on its seed; the average depends on it less.
Source of the idea: deep ensembles (Lakshminarayanan et al., 2017, arXiv 1612.01474), here averaged before inference
instead of after it.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tacit.rewards.network import BasedFeatures, RewardNetwork

__all__ = ["join_members"]


@torch.no_grad()
def join_members(whole: RewardNetwork, members: Sequence[RewardNetwork]) -> None:
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
        scale = len(members) ** -0.5 if last else 1.0
        weights = [part.weight * scale for part in parts]
        layer.weight.copy_(torch.cat(weights) if depth == 0 else torch.block_diag(*weights))
        layer.bias.copy_(torch.cat([part.bias * scale for part in parts]))


def _features(network: RewardNetwork) -> BasedFeatures:
    features = network.head.net
    assert isinstance(features, BasedFeatures)
    return features


def _linear(network: nn.Sequential) -> list[nn.Linear]:
    return [layer for layer in network if isinstance(layer, nn.Linear)]
