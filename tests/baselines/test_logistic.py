"""Batched Laplace: the mode is where the gradient vanishes, near ties and far out; evidence and its derivative."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tacit.baselines.logistic import laplace_evidence, laplace_posterior


def problem(scale: float, *, users: int = 3, pairs: int = 7, dims: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    draw = {"generator": generator, "dtype": torch.float64}
    design = scale * torch.randn(users, pairs, dims, **draw)
    offset = scale * torch.randn(users, pairs, **draw)
    return design, offset, torch.rand(users, pairs, **draw)


@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0, 1000.0])
def test_the_gradient_vanishes_at_the_mode(scale: float) -> None:
    """Also where full Newton steps would overshoot."""
    design, offset, weight = problem(scale)
    mode = laplace_posterior(design, offset, weight).mode
    lost = (-(offset + (design @ mode.unsqueeze(-1)).squeeze(-1))).sigmoid()
    pull = (design.mT @ (weight * lost).unsqueeze(-1)).squeeze(-1)
    assert_close(mode, pull, rtol=1e-7, atol=1e-7)


def test_the_covariance_is_the_inverse_hessian_of_the_energy() -> None:
    design, offset, weight = problem(1.0)
    found = laplace_posterior(design, offset, weight)

    def energy(mode: Tensor) -> Tensor:
        f = offset[0] + design[0] @ mode
        return 0.5 * mode @ mode - (weight[0] * f.sigmoid().log()).sum()

    hessian = torch.autograd.functional.hessian(energy, found.mode[0])
    assert isinstance(hessian, Tensor)
    assert_close(found.covariance[0], torch.linalg.inv(hessian))


def test_no_pairs_leave_the_prior() -> None:
    design, offset, weight = problem(1.0, pairs=0)
    found = laplace_posterior(design, offset, weight)
    assert_close(found.mode, torch.zeros_like(found.mode), rtol=0, atol=0)
    assert_close(found.covariance, torch.eye(4, dtype=torch.float64).expand(3, 4, 4), rtol=0, atol=0)
    assert_close(laplace_evidence(design, offset, weight), torch.zeros(3, dtype=torch.float64))


def test_evidence_is_near_the_integral_where_the_posterior_is_narrow() -> None:
    """One dimension, many choices: a sum over a fine grid is the truth."""
    design, offset, _ = problem(1.0, users=1, pairs=200, dims=1)
    v = torch.linspace(-10, 10, 20_001, dtype=torch.float64)
    log_p = (offset + design[..., 0] * v.unsqueeze(-1)).sigmoid().log().sum(-1) - 0.5 * v.square()
    truth = log_p.logsumexp(0) + math.log(20 / 20_000) - 0.5 * math.log(2 * math.pi)
    found = laplace_evidence(design, offset, torch.ones(1, 200, dtype=torch.float64))
    assert found.item() == pytest.approx(truth.item(), abs=0.01)


def test_evidence_knows_that_the_mode_moves() -> None:
    """Its derivative in the design is that of finite differences, which find the mode anew."""
    design, offset, weight = problem(1.0)
    shape = torch.randn(design.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    size = torch.zeros((), dtype=torch.float64, requires_grad=True)
    laplace_evidence(design + size * shape, offset, weight).sum().backward()
    ahead, behind = (laplace_evidence(design + h * shape, offset, weight).sum() for h in (1e-5, -1e-5))
    assert size.grad is not None
    assert_close(size.grad, (ahead - behind) / 2e-5, rtol=1e-6, atol=1e-7)
