"""P(a preferred to b), averaged over a user's posterior."""

from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.special import ndtr

from tacit.encoders.posterior import LatentPosterior
from tacit.episodes.hashing import step_generator
from tacit.rewards.heads.bilinear import BilinearHead
from tacit.rewards.heads.head import RewardHead

__all__ = ["expected_sigmoid", "preference"]

SAMPLES = 64


@cache
def _logistic_mixture() -> tuple[tuple[float, float], ...]:
    """Nodes (scale, weight) with sigmoid(x) = sum_i weight_i * Phi(x / scale_i) to 1e-7.

    The logistic distribution is a scale mixture of normals with scale 2 psi, psi ~ Kolmogorov-Smirnov (Andrews and
    Mallows, 1974; Stefanski, 1991). The density of log psi is smooth and vanishes fast, so the trapezoid rule converges
    exponentially.
    """
    t = np.linspace(np.log(0.17), np.log(3.6), 28)
    psi = np.exp(t)
    n = np.arange(1, 40)[:, None]
    density = 8 * ((-1.0) ** (n + 1) * n**2 * psi * np.exp(-2 * n**2 * psi**2)).sum(0)
    weight = density * psi
    return tuple(zip((2 * psi).tolist(), (weight / weight.sum()).tolist(), strict=True))


def expected_sigmoid(mean: Tensor, variance: Tensor) -> Tensor:
    """E[sigmoid(x)] for x ~ N(mean, variance), elementwise, to 1e-6 for any variance; antisymmetric in the mean."""
    total = torch.zeros_like(mean)
    for scale, weight in _logistic_mixture():
        total += weight * ndtr(mean * (variance + scale * scale).rsqrt())
    return total


@cache
def _hermite(nodes: int) -> tuple[tuple[float, float], ...]:
    x, w = np.polynomial.hermite_e.hermegauss(nodes)
    return tuple(zip(x.tolist(), (w / w.sum()).tolist(), strict=True))


def preference(
    head: RewardHead,
    posterior: LatentPosterior,
    a: Tensor,
    b: Tensor,
    *,
    temperature: float | Tensor = 1.0,
    log_nu: Tensor | None = None,
) -> Tensor:
    """P(a preferred to b): Float[users pairs] for standardised a, b Float[users pairs dim] or Float[pairs dim].

    Exact quadrature where the reward difference is Gaussian (bilinear head), fixed antithetic samples otherwise.
    Several temperatures Float[... 1 1] give as many answers Float[... users pairs].
    With `log_nu` (Davidson, 1970) the two orders and the tie share the mass: P = e^{d/2} / (e^{d/2} + e^{-d/2} + nu).
    """
    if posterior.scale is None:
        z = posterior.mean
        gap = (head(a, z) - head(b, z)) / temperature
        return gap.sigmoid() if log_nu is None else _davidson(gap, log_nu)
    if isinstance(head, BilinearHead):
        (fa, ba), (fb, bb) = head.features(a), head.features(b)
        total = torch.zeros(())
        for weight, mean, variance in posterior.along(fa - fb):
            mean, variance = (mean + (ba - bb)) / temperature, variance / temperature**2
            p = expected_sigmoid(mean, variance) if log_nu is None else _expected_davidson(mean, variance, log_nu)
            total = total + weight * p
        return total
    generator = step_generator(0, SAMPLES)
    latent = posterior.mean.shape[-1]
    noise = torch.randn(SAMPLES // 2, 1, latent, generator=generator, dtype=posterior.mean.dtype)
    total: Tensor | None = None
    for sign in (1.0, -1.0):
        for draw in noise:
            z = posterior.mean + sign * posterior.scale * draw.to(posterior.mean.device)
            gap = (head(a, z) - head(b, z)) / temperature
            p = gap.sigmoid() if log_nu is None else _davidson(gap, log_nu)
            total = p if total is None else total + p
    assert total is not None
    return total / SAMPLES


def _davidson(gap: Tensor, log_nu: Tensor) -> Tensor:
    return torch.stack([torch.zeros_like(gap), -gap, log_nu - gap / 2]).logsumexp(0).neg().exp()


def _expected_davidson(mean: Tensor, variance: Tensor, log_nu: Tensor) -> Tensor:
    """E[P(a over b)] for a gap ~ N(mean, variance), elementwise, to 1e-6 for any variance.

    A narrow Gaussian sees a smooth curve: Gauss-Hermite. A wide one sees a step, blurred a little: with the curve's
    slope f, E = integral of f(u) Phi((mean - u) / scale) du, where the trapezoid rule converges exponentially.
    """
    scale = variance.sqrt()
    narrow, wide = torch.zeros_like(mean), torch.zeros_like(mean)
    for x, weight in _hermite(24):
        narrow += weight * _davidson(mean + x * scale.clamp(max=1.25), log_nu)
    u = 2 * log_nu.clamp(min=0) + torch.arange(-34, 35, dtype=mean.dtype, device=mean.device)
    win, lose = _davidson(u, log_nu), _davidson(-u, log_nu)
    slope = win * (1 - win + lose) / 2
    for at, weight in zip(u, slope / slope.sum(), strict=True):
        wide += weight * ndtr((mean - at) / scale.clamp(min=1.25))
    return torch.where(scale < 1.25, narrow, wide)
