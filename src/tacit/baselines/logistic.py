"""Laplace's approximation for logistic regression with a standard normal prior, batched over users, in float64.

    v ~ N(0, I)      f = offset + A v      P(win_j) = sigmoid(f_j)

Any Gaussian prior takes this form: w ~ N(w0, L L^T) has A = X L and offset = X w0; a Gaussian process with prior mean m
and covariance K = L L^T of the k observed differences has A = L and offset = m. The posterior is N(mode, H^-1) with

    g = v - A^T (weight * sigmoid(-f))      H = I + A^T diag(weight * sigmoid(f) * sigmoid(-f)) A

and H is never worse conditioned than the data make it, however narrow the prior. Sources: MacKay (1992), "The evidence
framework applied to classification networks"; Rasmussen and Williams (2006), sections 3.4 and 3.7.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

__all__ = ["LaplacePosterior", "laplace_evidence", "laplace_posterior"]

ITERATIONS, HALVINGS, CLOSE = 100, 30, 1e-9


@dataclass(frozen=True)
class LaplacePosterior:
    """N(mode, (factor factor^T)^-1): mode Float64[users dims], factor Float64[users dims dims], lower triangular."""

    mode: Tensor
    factor: Tensor

    @property
    def covariance(self) -> Tensor:
        """Float64[users dims dims]."""
        return torch.cholesky_inverse(self.factor)


@torch.no_grad()
def laplace_posterior(design: Tensor, offset: Tensor, weight: Tensor, start: Tensor | None = None) -> LaplacePosterior:
    """The posterior of each user.

    Args:
        design: A, Float64[users pairs dims], signed so that every pair was won.
        offset: Float64[users pairs], the prior mean of f.
        weight: Float64[users pairs], 0 = absent.
        start: Float64[users dims] near the mode, where something is known; 0 otherwise.

    Newton's steps are halved, for each user alone, until the posterior density does not fall; the problem is strictly
    concave, so they end at the one mode.
    """
    mode = design.new_zeros(len(design), design.shape[2]) if start is None else start
    value = _energy(mode, design, offset, weight)
    for _ in range(ITERATIONS):
        step, _ = _newton(mode, design, offset, weight)
        reached = _energy(mode + step, design, offset, weight)
        for _ in range(HALVINGS):
            too_far = reached > value + 1e-12 * (1 + value.abs())
            if not bool(too_far.any()):
                break
            step = torch.where(too_far.unsqueeze(-1), step / 2, step)
            reached = _energy(mode + step, design, offset, weight)
        mode, value = mode + step, reached
        if bool((step.abs() < CLOSE).all()):
            break
    return LaplacePosterior(mode, _newton(mode, design, offset, weight)[1])


def laplace_evidence(design: Tensor, offset: Tensor, weight: Tensor) -> Tensor:
    """Log p(choices) up to Laplace's error, Float64[users]; arguments as above, differentiable in the first two.

    One Newton step taken at the mode does not move it, but carries its derivative (the implicit function theorem).
    """
    found = laplace_posterior(design.detach(), offset.detach(), weight).mode
    mode = found + _newton(found, design, offset, weight)[0]
    factor = _newton(mode, design, offset, weight)[1]
    log_det = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return -_energy(mode, design, offset, weight) - 0.5 * log_det


def _energy(mode: Tensor, design: Tensor, offset: Tensor, weight: Tensor) -> Tensor:
    """Minus log of likelihood times prior, without the prior's constant: Float64[users]."""
    f = offset + (design @ mode.unsqueeze(-1)).squeeze(-1)
    return 0.5 * mode.square().sum(-1) - (weight * logsigmoid(f)).sum(-1)


def _newton(mode: Tensor, design: Tensor, offset: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Newton's step Float64[users dims], and the lower Cholesky factor of H."""
    f = offset + (design @ mode.unsqueeze(-1)).squeeze(-1)
    lost = (-f).sigmoid()
    gradient = mode - (design.mT @ (weight * lost).unsqueeze(-1)).squeeze(-1)
    hessian = design.mT @ (design * (weight * lost * f.sigmoid()).unsqueeze(-1))
    factor = torch.linalg.cholesky(hessian + torch.eye(design.shape[2], dtype=design.dtype, device=design.device))
    return -torch.cholesky_solve(gradient.unsqueeze(-1), factor).squeeze(-1), factor
