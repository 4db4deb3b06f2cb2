"""Simulated worlds, whose truth is known: the paper's one-dimensional world and the text world."""

from typing import TYPE_CHECKING

from tacit.lazy import lazy

if TYPE_CHECKING:
    from tacit.worlds.piecewise import PiecewisePart, PiecewiseWorld, bayes_optimal_accuracy, piecewise_reward
    from tacit.worlds.text import ATTRIBUTES, TextWorld

__all__ = [
    "ATTRIBUTES",
    "PiecewisePart",
    "PiecewiseWorld",
    "TextWorld",
    "bayes_optimal_accuracy",
    "piecewise_reward",
]
__getattr__, __dir__ = lazy(__name__, __file__)
