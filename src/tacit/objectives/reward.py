"""Objectives of the reward model: pure functions of log-likelihoods, in nats per target.

Shapes: `log_prob` Float[samples users targets] = log p(target choice | z_s); `weight` Float[users targets], 0 = pad.
Each returns a scalar: the mean over users that have targets.
"""

import math

import torch
from torch import Tensor

__all__ = ["elbo", "nll", "predictive"]


def predictive(log_prob: Tensor, weight: Tensor, log_draw: Tensor | None = None) -> Tensor:
    """-log mean_s exp(sum_T log p), z_s ~ q(z | context): fits what is used at test time.

    `log_draw`, Float[samples users], are log weights of the draws where they do not count alike.

    The targets of a user are scored jointly, so that one z must explain all of them. With one sample (a deterministic
    encoder) this is `nll`. Source: the NP maximum-likelihood objective of Foong et al., 2020 (arXiv 2007.01332), eq. 5.
    """
    joint = (log_prob * weight).sum(-1)
    if log_draw is None:
        return _per_target(math.log(joint.shape[0]) - joint.logsumexp(0), weight)
    return _per_target(-(joint + log_draw).logsumexp(0), weight)


def nll(log_prob: Tensor, weight: Tensor) -> Tensor:
    """-mean log p: the deterministic objective (samples, if several, are averaged in log space)."""
    return _per_target(-(log_prob * weight).sum(-1).mean(0), weight)


def elbo(log_prob: Tensor, weight: Tensor, kl: Tensor, *, beta: float = 1.0) -> Tensor:
    """Negative neural-process ELBO: -E_{z ~ q(z | C u T)} sum_T log p + beta * KL(q(z | C u T) || q(z | C)).

    Shapes: kl Float[users] in nats, per user against the sum over its targets. `log_prob` must be computed with
    samples of the posterior that has seen the targets. Source: Garnelo et al., 2018 (arXiv 1807.01622), eq. 9.
    """
    expected = -(log_prob * weight).sum(-1).mean(0)
    return _per_target(expected + beta * kl, weight)


def _per_target(loss: Tensor, weight: Tensor) -> Tensor:
    total = weight.sum(-1)
    present = total > 0
    mean = torch.where(present, loss / total.clamp(min=1e-12), torch.zeros_like(loss))
    return mean.sum() / present.sum().clamp(min=1)
