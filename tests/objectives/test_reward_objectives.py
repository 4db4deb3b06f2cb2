"""Objectives against NumPy, against each other, and against a model whose likelihood is known exactly."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Normal
from torch.testing import assert_close

from tacit.encoders import LatentPosterior
from tacit.objectives import elbo, nll, predictive


def example(seed: int = 0, samples: int = 5, users: int = 4, targets: int = 3) -> tuple[Tensor, Tensor]:
    """Log-likelihoods, and weights under which user 0 has no target and others have padding."""
    g = torch.Generator().manual_seed(seed)
    log_prob = -torch.rand(samples, users, targets, generator=g, dtype=torch.float64) * 3
    weight = torch.rand(users, targets, generator=g, dtype=torch.float64) * 2
    weight[0] = 0
    weight[1, 1:] = 0
    return log_prob, weight


def test_each_against_numpy() -> None:
    log_prob, weight = example()
    kl = torch.rand(4, dtype=torch.float64)
    lp, w = log_prob.numpy(), weight.numpy()
    joint = (lp * w).sum(-1)  # [samples users]
    users = slice(1, None)  # user 0 has no targets
    per_target = w.sum(-1)[users]
    assert nll(log_prob, weight).item() == pytest.approx((-joint.mean(0)[users] / per_target).mean())
    mixture = -np.log(np.exp(joint).mean(0))
    assert predictive(log_prob, weight).item() == pytest.approx((mixture[users] / per_target).mean())
    bound = -joint.mean(0) + 0.7 * kl.numpy()
    assert elbo(log_prob, weight, kl, beta=0.7).item() == pytest.approx((bound[users] / per_target).mean())


@given(st.integers(0, 10**6))
def test_predictive_is_never_above_the_mean_nll_and_equals_it_for_one_sample(seed: int) -> None:
    log_prob, weight = example(seed)
    assert predictive(log_prob, weight) <= nll(log_prob, weight) + 1e-12  # Jensen
    assert_close(predictive(log_prob[:1], weight), nll(log_prob[:1], weight))


def test_targets_of_a_user_are_scored_jointly() -> None:
    """Two latents that each explain one of two targets are worse than one that explains both."""
    weight = torch.ones(1, 2)
    good, bad = -0.01, -5.0
    apart = torch.tensor([[[good, bad]], [[bad, good]]])
    together = torch.tensor([[[good, good]], [[bad, bad]]])
    assert predictive(together, weight) < predictive(apart, weight) - 1


def test_very_unlikely_targets_stay_finite() -> None:
    log_prob = torch.full((4, 2, 3), -1e4, dtype=torch.float64, requires_grad=True)
    loss = predictive(log_prob, torch.ones(2, 3, dtype=torch.float64))
    loss.backward()
    assert loss.item() == pytest.approx(1e4)
    assert_close(log_prob.grad, torch.full((4, 2, 3), -1 / 24, dtype=torch.float64))


def test_nobody_has_a_target() -> None:
    """An episode without targets is no reason to move, and no NaN."""
    log_prob = torch.zeros(3, 2, 4, requires_grad=True)
    weight, kl = torch.zeros(2, 4), torch.zeros(2)
    total = nll(log_prob, weight) + predictive(log_prob, weight) + elbo(log_prob, weight, kl)
    total.backward()
    assert total.item() == 0
    assert torch.equal(log_prob.grad, torch.zeros(3, 2, 4))


def test_padding_and_users_without_targets_do_not_count() -> None:
    log_prob, weight = example()
    padded = torch.cat([log_prob, torch.full((5, 4, 2), -50.0, dtype=torch.float64)], dim=2)
    wide = torch.cat([weight, torch.zeros(4, 2, dtype=torch.float64)], dim=1)
    for objective in (nll, predictive):
        assert_close(objective(padded, wide), objective(log_prob, weight))
        assert_close(objective(log_prob[:, 1:], weight[1:]), objective(log_prob, weight))


# z ~ N(0, 1) given the context, y_t ~ N(z, 1): everything is Gaussian, and the targets' likelihood is known.

Y = torch.tensor([0.3, 1.9, 1.1], dtype=torch.float64)


def gaussian_log_prob(z: Tensor) -> Tensor:
    """Float[samples 1 targets]."""
    return Normal(z, 1.0).log_prob(Y)


def exact() -> float:
    covariance = torch.eye(3, dtype=torch.float64) + 1
    return torch.distributions.MultivariateNormal(Y.new_zeros(3), covariance).log_prob(Y).item()


def prior() -> LatentPosterior:
    return LatentPosterior(Y.new_zeros(1, 1), Y.new_ones(1, 1))


def negative_elbo(mean: float, scale: float) -> float:
    posterior = LatentPosterior(Y.new_tensor([[mean]]), Y.new_tensor([[scale]]))
    z = posterior.rsample(40_000, torch.Generator().manual_seed(0))
    return elbo(gaussian_log_prob(z), torch.ones(1, 3, dtype=torch.float64), posterior.kl(prior())).item() * 3


def test_elbo_is_tight_at_the_true_posterior_and_a_bound_elsewhere() -> None:
    mean, scale = Y.sum().item() / 4, 0.5
    assert -negative_elbo(mean, scale) == pytest.approx(exact(), abs=0.02)
    for wrong in ((mean + 0.5, scale), (mean, 1.0), (mean, 0.2), (0.0, 1.0)):
        assert -negative_elbo(*wrong) < exact() - 0.1


def test_predictive_estimates_the_likelihood_itself() -> None:
    z = prior().rsample(200_000, torch.Generator().manual_seed(1))
    value = predictive(gaussian_log_prob(z), torch.ones(1, 3, dtype=torch.float64)).item() * 3
    assert -value == pytest.approx(exact(), abs=0.02)
