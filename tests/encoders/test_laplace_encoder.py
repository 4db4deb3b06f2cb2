"""The Laplace encoder: the encoder contract, the mode and the evidence against plain NumPy, and the mixture."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal, kl_divergence
from torch.testing import assert_close

from tacit.encoders import Encoder, LaplaceEncoder, LatentPosterior, MixturePosterior
from tacit.encoders.laplace import LaplaceConfig
from tacit.errors import ConfigError
from tacit.testing import EncoderConformance, random_choices


def laplace(dim: int, latent: int, components: int = 1, steps: int = 4) -> LaplaceEncoder:
    features = nn.Sequential(nn.Linear(dim, 8), nn.GELU(), nn.Linear(8, latent + 1, bias=False))  # a bias cancels
    encoder = LaplaceEncoder(dim, latent, LaplaceConfig(components=components), features=features)
    encoder.steps = steps
    return encoder


class TestLaplace(EncoderConformance):
    def make(self, dim: int, latent: int) -> Encoder:
        return laplace(dim, latent)


class TestLaplaceWithLearntPrior(EncoderConformance):
    def make(self, dim: int, latent: int) -> Encoder:
        return laplace(dim, latent, components=3)


def numpy_laplace(f: np.ndarray, b: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, float]:
    """The mode of z and the log evidence of one component, by Newton's method on z itself, until it stands still."""
    precision = np.diag(scale**-2)
    z = mean.copy()
    for _ in range(200):
        doubt = 1 / (1 + np.exp(f @ z + b))
        hessian = (f * (doubt * (1 - doubt))[:, None]).T @ f + precision
        z = z + np.linalg.solve(hessian, f.T @ doubt - precision @ (z - mean))
    doubt = 1 / (1 + np.exp(f @ z + b))
    hessian = (f * (doubt * (1 - doubt))[:, None]).T @ f + precision
    fit = -np.log1p(np.exp(-(f @ z + b))).sum() - (z - mean) @ precision @ (z - mean) / 2
    return z, float(fit - np.linalg.slogdet(hessian)[1] / 2 - np.log(scale).sum())


def test_each_component_is_the_laplace_approximation_of_its_own_prior() -> None:
    generator = np.random.default_rng(0)
    f, b = 1.5 * generator.normal(size=(6, 2)), generator.normal(size=6)
    encoder = laplace(3, 2, components=2, steps=30).double()
    with torch.no_grad():
        encoder.location.copy_(torch.tensor([[1.0, -1.0], [-0.5, 0.5]]))
        encoder.log_scale.copy_(torch.tensor([[0.2, -0.3], [0.0, 0.4]]))
        encoder.logit.copy_(torch.tensor([0.3, -0.4]))
        rows = torch.from_numpy(np.column_stack([f, b])).unsqueeze(0)
        posterior = encoder.posterior(rows, torch.ones(1, 6, dtype=torch.float64))
        share = encoder.logit.softmax(0).numpy()
        location, scale = encoder.location.numpy(), encoder.log_scale.exp().numpy()
    found = [numpy_laplace(f, b, mean - share @ location, s) for mean, s in zip(location, scale, strict=True)]
    for component, (mode, _) in enumerate(found):
        assert_close(posterior.means[0, component], torch.from_numpy(mode))
    log_weight = np.log(share) + np.array([evidence for _, evidence in found])
    expected = np.exp(log_weight - log_weight.max())
    assert_close(posterior.log_weight[0].exp(), torch.from_numpy(expected / expected.sum()))


def test_the_last_step_has_the_gradient_of_the_mode() -> None:
    encoder = laplace(3, 2, steps=30).double()
    rows = torch.randn(1, 5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda r: encoder.posterior(r, torch.ones(1, 5, dtype=torch.float64)).mean, (rows,))


@pytest.mark.parametrize(
    ("gap", "against", "choices"), [(5.0, -10.0, 1), (2.0, -4.0, 5), (4.0, -4.0, 5), (3.0, -3.0, 5)]
)
def test_who_contradicts_the_population_is_heard(gap: float, against: float, choices: int) -> None:
    """Undamped Newton steps never settle here: after an even number the user looks like a stranger."""
    encoder = LaplaceEncoder(2, 1, features=nn.Identity()).double()
    rows = torch.tensor([[[gap, against]] * choices], dtype=torch.float64)
    found = encoder.posterior(rows, torch.ones(1, choices, dtype=torch.float64)).mean.item()
    z = np.linspace(0, 10, 100_001)
    exact = z[np.argmax(-choices * np.log1p(np.exp(-(against + gap * z))) - z**2 / 2)]
    assert found == pytest.approx(exact, rel=0.25)


def test_nobody_knows_a_user_without_choices() -> None:
    for components in (1, 4):
        encoder = laplace(3, 2, components=components).double()
        prior = encoder.posterior(torch.zeros(2, 0, 3, dtype=torch.float64), torch.zeros(2, 0, dtype=torch.float64))
        assert_close(prior.mean, torch.zeros_like(prior.mean))


def test_a_choice_rules_a_component_out() -> None:
    encoder = LaplaceEncoder(2, 1, LaplaceConfig(components=2), features=nn.Identity())
    with torch.no_grad():
        encoder.location.copy_(torch.tensor([[3.0], [-3.0]]))
        encoder.log_scale.fill_(-3)
        weight = encoder.posterior(torch.tensor([[[4.0, 0.0]]]), torch.ones(1, 1)).log_weight.exp()
    assert weight[0, 0] > 0.999


def test_draws_and_directions_agree_with_the_moments() -> None:
    encoder = laplace(3, 2, components=3).double()
    posterior = encoder(random_choices(2, 4, 3))
    z, log_weight = posterior.draws(60_000, torch.Generator().manual_seed(0))
    weight = log_weight.exp().unsqueeze(-1)
    assert_close(weight.sum(0), torch.ones(2, 1, dtype=torch.float64))
    mean = (weight * z).sum(0)
    assert_close(mean, posterior.mean, atol=0.02, rtol=0)
    assert_close((weight * (z - mean).square()).sum(0).sqrt(), posterior.scale, atol=0.02, rtol=0)
    f = torch.eye(2, dtype=torch.float64)
    along = [(w, m, v) for w, m, v in posterior.along(f)]
    assert_close(sum(w * m for w, m, _ in along), posterior.mean)


def test_a_mixture_has_no_kl_divergence() -> None:
    posterior = laplace(3, 2)(random_choices(1, 1, 3, dtype=torch.float32))
    assert isinstance(posterior, MixturePosterior)
    with pytest.raises(ConfigError, match="closed form"):
        posterior.kl(LatentPosterior(posterior.mean, posterior.scale))


def test_one_component_tells_what_was_learnt() -> None:
    """KL of Gaussians with full covariances, against torch.distributions."""
    encoder = laplace(3, 2).double()
    rows = torch.randn(4, 5, encoder.evidence_dim, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    posterior = encoder.posterior(rows, torch.ones(4, 5, dtype=torch.float64))
    prior = encoder.posterior(rows[:, :0], torch.ones(4, 0, dtype=torch.float64))
    given = [MultivariateNormal(q.means[:, 0], scale_tril=root(q.factors[:, 0])) for q in (posterior, prior)]
    torch.testing.assert_close(posterior.kl(prior), kl_divergence(*given))
    torch.testing.assert_close(prior.kl(prior), torch.zeros(4, dtype=torch.float64))


def root(factor: torch.Tensor) -> torch.Tensor:
    return torch.linalg.cholesky(factor @ factor.mT)
