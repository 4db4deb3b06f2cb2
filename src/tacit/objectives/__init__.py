"""Objectives: pure functions of tensors, no models and no loops."""

from typing import TYPE_CHECKING

from tacit.lazy import lazy

if TYPE_CHECKING:
    from tacit.objectives.reward import elbo, nll, predictive

__all__ = ["elbo", "nll", "predictive"]
__getattr__, __dir__ = lazy(__name__, __file__)
