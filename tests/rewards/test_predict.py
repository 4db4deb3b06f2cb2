"""Posterior-averaged preference probabilities against plain numerical integration."""

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from tacit.encoders import LatentPosterior
from tacit.rewards import BilinearHead, MLPHead, RewardHead
from tacit.rewards.expected_preference import expected_sigmoid, preference
from tacit.rewards.heads import HeadConfig
from tacit.testing.samples import seeded_module

T = np.linspace(-12, 12, 40_001)
PHI = np.exp(-(T**2) / 2)
PHI /= PHI.sum()


def integrate(function, mean: float, variance: float) -> float:
    """E[function(x)], x ~ N(mean, variance), by the trapezoid rule in the standard normal variable."""
    return float((function(mean + np.sqrt(variance) * T) * PHI).sum())


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.where(x >= 0, 1, np.exp(-np.abs(x))) / (1 + np.exp(-np.abs(x)))


@given(mean=st.floats(-30, 30), variance=st.floats(0, 2000))
@example(mean=0.3, variance=0.0)
@example(mean=-3.0, variance=2000.0)
@example(mean=20.0, variance=1e-8)
def test_expected_sigmoid_is_the_integral(mean: float, variance: float) -> None:
    got = expected_sigmoid(torch.tensor(mean, dtype=torch.float64), torch.tensor(variance, dtype=torch.float64))
    assert got.item() == pytest.approx(integrate(sigmoid, mean, variance), abs=1e-6)


def test_expected_sigmoid_is_antisymmetric_and_bounded_in_float32() -> None:
    mean = torch.cat([torch.linspace(-1e4, 1e4, 401), torch.linspace(-3, 3, 401)])
    for variance in (0.0, 1.0, 1e4):
        p = expected_sigmoid(mean, torch.full_like(mean, variance))
        assert bool(((p >= 0) & (p <= 1)).all())
        assert_close(p + expected_sigmoid(-mean, torch.full_like(mean, variance)), torch.ones_like(p))


def test_expected_sigmoid_passes_gradients() -> None:
    mean, variance = torch.tensor([0.5], dtype=torch.float64), torch.tensor([2.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(expected_sigmoid, (mean.requires_grad_(), variance.requires_grad_()))


# -- through a head ----------------------------------------------------------------------------------------------------

DIM, LATENT, USERS, PAIRS = 3, 2, 4, 5
HEADS: dict[str, RewardHead] = {
    "bilinear": seeded_module(lambda: BilinearHead(DIM, LATENT, HeadConfig(hidden=(8,)))),
    "mlp": seeded_module(lambda: MLPHead(DIM, LATENT, HeadConfig(hidden=(8,)))),
}
LOG_NU = torch.tensor(-0.4, dtype=torch.float64)


def situation(seed: int, doubt: float = 1.0) -> tuple[LatentPosterior, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    a, b = torch.randn(2, USERS, PAIRS, DIM, generator=g, dtype=torch.float64)
    mean, raw = torch.randn(2, USERS, LATENT, generator=g, dtype=torch.float64)
    return LatentPosterior(mean, doubt * raw.abs() if doubt else None), a, b


def brute_force(head: RewardHead, posterior: LatentPosterior, a: Tensor, b: Tensor, log_nu: Tensor | None) -> Tensor:
    """The same average by very many draws."""
    z = posterior.rsample(20_000, torch.Generator().manual_seed(9))
    with torch.no_grad():
        half = (head(a, z) - head(b, z)) / 2
    if log_nu is None:
        return (2 * half).sigmoid().mean(0)
    return torch.stack([half, -half, log_nu.expand_as(half)]).softmax(0)[0].mean(0)


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("log_nu", [None, LOG_NU], ids=["pairs", "ties"])
def test_preference_is_the_posterior_average(kind: str, log_nu: Tensor | None) -> None:
    head, (posterior, a, b) = HEADS[kind], situation(0)
    with torch.no_grad():
        got = preference(head, posterior, a, b, log_nu=log_nu)
    tolerance = 0.01 if kind == "bilinear" else 0.05  # 20 000 draws here; 64 antithetic ones inside
    assert_close(got, brute_force(head, posterior, a, b, log_nu), rtol=0, atol=tolerance)


@pytest.mark.parametrize("doubt", [0.01, 1.0, 10.0, 40.0])
def test_davidson_under_a_gaussian_is_the_integral(doubt: float) -> None:
    """The reward gap of a bilinear head is Gaussian, so a one-dimensional integral says what is right."""
    head, (posterior, a, b) = HEADS["bilinear"], situation(1, doubt)
    assert isinstance(head, BilinearHead)
    with torch.no_grad():
        got = preference(head, posterior, a, b, log_nu=LOG_NU)
        (fa, ba), (fb, bb) = head.features(a), head.features(b)
    f = fa - fb
    mean = torch.einsum("upl,ul->up", f, posterior.mean) + ba - bb
    variance = torch.einsum("upl,ul->up", f.square(), posterior.scale.square())
    nu = LOG_NU.exp().item()
    for user in range(USERS):
        for pair in range(PAIRS):
            want = integrate(
                lambda d: 1 / (1 + np.exp(-np.clip(d, -700, 700)) + nu * np.exp(-np.clip(d, -700, 700) / 2)),
                mean[user, pair].item(), variance[user, pair].item(),
            )  # fmt: skip
            assert got[user, pair].item() == pytest.approx(want, abs=1e-6)


@given(
    seed=st.integers(0, 10**6),
    kind=st.sampled_from(sorted(HEADS)),
    ties=st.booleans(),
    doubt=st.sampled_from([0, 1, 9]),
)
def test_both_orders_and_the_tie_share_the_mass(seed: int, kind: str, ties: bool, doubt: float) -> None:
    head, (posterior, a, b) = HEADS[kind], situation(seed, doubt)
    log_nu = LOG_NU if ties else None
    with torch.no_grad():
        forward, backward = (preference(head, posterior, x, y, log_nu=log_nu) for x, y in ((a, b), (b, a)))
        same = preference(head, posterior, a, a, log_nu=log_nu)
    if ties:
        assert bool((forward + backward < 1).all())
        nu = LOG_NU.exp().item()
        assert_close(same, torch.full_like(same, 1 / (2 + nu)))
    else:
        assert_close(forward + backward, torch.ones_like(forward), rtol=0, atol=1e-9)
        assert_close(same, torch.full_like(same, 0.5))


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("doubt", [0.0, 1.0])
def test_temperature_divides_rewards(kind: str, doubt: float) -> None:
    """A hotter model is less sure; at a great temperature it knows nothing."""
    head, (posterior, a, b) = HEADS[kind], situation(2, doubt)
    with torch.no_grad():
        plain, hot, boiling = (preference(head, posterior, a, b, temperature=t) for t in (1.0, 4.0, 1e9))
    assert bool(((hot - 0.5).abs() < (plain - 0.5).abs() + 1e-9).all())
    assert_close(boiling, torch.full_like(boiling, 0.5))


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("doubt", [0.0, 1.0])
@pytest.mark.parametrize("log_nu", [None, LOG_NU], ids=["pairs", "ties"])
def test_several_temperatures_are_each_alone(kind: str, doubt: float, log_nu: Tensor | None) -> None:
    head, (posterior, a, b) = HEADS[kind], situation(5, doubt)
    hot = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)
    with torch.no_grad():
        together = preference(head, posterior, a, b, temperature=hot[:, None, None], log_nu=log_nu)
        alone = [preference(head, posterior, a, b, temperature=t, log_nu=log_nu) for t in hot.tolist()]
    assert_close(together, torch.stack(alone))


def test_doubt_pulls_towards_even_odds() -> None:
    head, (posterior, a, b) = HEADS["bilinear"], situation(3)
    with torch.no_grad():
        sure = preference(head, LatentPosterior(posterior.mean), a, b)
        unsure = preference(head, posterior, a, b)
    assert bool(((unsure - 0.5).abs() < (sure - 0.5).abs()).all())
    assert bool(((unsure - 0.5) * (sure - 0.5) >= 0).all())


def test_samples_are_antithetic() -> None:
    """Where the gap is symmetric about zero, an even number of draws must say so to the last digit."""

    class Plain(RewardHead):
        linear = True

        def read(self, items: Tensor) -> Tensor:
            return items[:, :LATENT]

        def combine(self, features: Tensor, z: Tensor) -> Tensor:
            return z @ features.T

    posterior, a, b = situation(4)
    centred = LatentPosterior(torch.zeros_like(posterior.mean), posterior.scale)
    p = preference(Plain(), centred, a[0], b[0])
    assert_close(p, torch.full_like(p, 0.5), rtol=0, atol=1e-12)


def test_sampling_is_fixed_and_leaves_the_global_random_state_alone() -> None:
    posterior, a, b = situation(4)
    before = torch.random.get_rng_state()
    with torch.no_grad():
        first, second = (preference(HEADS["mlp"], posterior, a, b) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.random.get_rng_state(), before)
