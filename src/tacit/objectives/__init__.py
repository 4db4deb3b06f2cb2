"""Objectives: pure functions of tensors, no models and no loops."""

from tacit.objectives.reward import elbo, nll, predictive

__all__ = ["elbo", "nll", "predictive"]
