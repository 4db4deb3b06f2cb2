"""`LatentPosterior` against torch.distributions, and the additive posterior against the product of Gaussians."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Normal, kl_divergence
from torch.testing import assert_close

from tacit.encoders import AdditiveEncoder, LatentPosterior
from tacit.errors import ConfigError

finite = st.floats(-5, 5)
positive = st.floats(0.05, 20)


@given(st.lists(st.tuples(finite, positive, finite, positive), min_size=1, max_size=4))
def test_kl_is_that_of_torch(rows: list[tuple[float, float, float, float]]) -> None:
    m1, s1, m2, s2 = torch.tensor(rows, dtype=torch.float64).unsqueeze(1).unbind(-1)
    ours = LatentPosterior(m1, s1).kl(LatentPosterior(m2, s2))
    assert ours.shape == (len(rows),)
    assert_close(ours, kl_divergence(Normal(m1, s1), Normal(m2, s2)).sum(-1), rtol=1e-9, atol=1e-9)


def test_kl_has_a_direction() -> None:
    wide, narrow = (
        LatentPosterior(torch.zeros(1, 1), torch.ones(1, 1)),
        LatentPosterior(torch.zeros(1, 1), torch.full((1, 1), 0.1)),
    )
    assert narrow.kl(wide).item() == pytest.approx(np.log(10) + 0.005 - 0.5)
    assert wide.kl(narrow).item() == pytest.approx(-np.log(10) + 50 - 0.5, rel=1e-5)
    assert wide.kl(wide).item() == 0


def test_a_deterministic_posterior_has_no_kl_and_repeats_its_mean() -> None:
    point = LatentPosterior(torch.randn(3, 2))
    with pytest.raises(ConfigError, match="variational"):
        point.kl(point)
    assert torch.equal(point.rsample(4), point.mean.expand(4, 3, 2))


def test_samples_have_the_moments_of_the_posterior() -> None:
    mean, scale = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.5, 3.0]])
    draws = LatentPosterior(mean, scale).rsample(40_000, torch.Generator().manual_seed(0))
    assert draws.shape == (40_000, 1, 2)
    assert_close(draws.mean(0), mean, rtol=0, atol=0.06)
    assert_close(draws.std(0), scale, rtol=0.02, atol=0)


def test_samples_are_fixed_by_the_generator_and_pass_gradients() -> None:
    mean, scale = torch.zeros(2, 3, requires_grad=True), torch.ones(2, 3, requires_grad=True)
    posterior = LatentPosterior(mean, scale)
    first, second = (posterior.rsample(5, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, second)
    first.sum().backward()
    assert_close(mean.grad, torch.full((2, 3), 5.0))
    assert_close(scale.grad, second.detach().sum(0))  # the noise itself, as the mean is 0


def test_the_additive_posterior_is_a_product_of_gaussians() -> None:
    """Prior N(0, 1) times one factor N(m_j, 1 / lambda_j) per unit of weight, on a grid."""
    m, precision, weight = np.array([2.0, -1.0, 0.5]), np.array([0.3, 4.0, 1.5]), np.array([1.0, 2.0, 0.0])
    z = np.linspace(-12, 12, 20_001)
    log_density = -0.5 * z**2 - 0.5 * (weight[:, None] * precision[:, None] * (z - m[:, None]) ** 2).sum(0)
    density = np.exp(log_density - log_density.max())
    density /= density.sum()
    mean = (z * density).sum()
    std = np.sqrt(((z - mean) ** 2 * density).sum())
    rows = torch.from_numpy(np.stack([precision * m, precision], axis=1)).unsqueeze(0)
    posterior = AdditiveEncoder(2, 1).posterior(rows, torch.from_numpy(weight).unsqueeze(0))
    assert posterior.mean.item() == pytest.approx(mean, abs=1e-9)
    assert posterior.scale is not None
    assert posterior.scale.item() == pytest.approx(std, abs=1e-9)


def test_the_additive_prior_is_standard_normal() -> None:
    posterior = AdditiveEncoder(2, 3).posterior(torch.zeros(2, 0, 6), torch.zeros(2, 0))
    assert torch.equal(posterior.mean, torch.zeros(2, 3))
    assert torch.equal(posterior.scale, torch.ones(2, 3))
