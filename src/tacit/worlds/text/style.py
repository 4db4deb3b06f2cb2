"""How an answer is written: five independent settings on [-1, 1]."""

from dataclasses import dataclass

import numpy as np

__all__ = ["ATTRIBUTES", "Style", "describe"]

ATTRIBUTES = ("length", "warmth", "hedging", "humour", "formality")
"""The visible attributes of an answer, in the order of every attribute axis."""

LEVELS = (-1.0, -0.5, 0.0, 0.5, 1.0)
SENTENCES = dict(zip(LEVELS, (1, 2, 3, 4, 6), strict=True))  # statements of content per length level
JOKES = {-1.0: 0, 0.0: 1, 1.0: 2}  # three levels: an answer of three jokes and one fact helps nobody

WORDS = {
    "length": ("short", "long"),
    "warmth": ("blunt", "warm"),
    "hedging": ("confident", "cautious"),
    "humour": ("serious", "funny"),
    "formality": ("casual", "formal"),
}


@dataclass(frozen=True, slots=True)
class Style:
    """The settings of one answer; 0 is plain on every axis but length and humour, where -1 is least.

    Attributes:
        length: from one statement to six.
        warmth: curt openers and closers below zero, kind ones above.
        hedging: flat certainty below zero, doubt above.
        humour: no joke, one, or two.
        formality: slang and contractions below zero, elevated wording above.
    """

    length: float = 0.0
    warmth: float = 0.0
    hedging: float = 0.0
    humour: float = -1.0
    formality: float = 0.0

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Style":
        """Every setting uniform over its levels, independently."""
        length, warmth, hedging, formality = (LEVELS[i] for i in rng.integers(len(LEVELS), size=4))
        return cls(length, warmth, hedging, float(rng.integers(3)) - 1.0, formality)


def describe(weights: np.ndarray) -> str:
    """A user in words, what matters most first: "likes short, funny, casual answers".

    Args:
        weights: Float[attributes], what one standard deviation of each attribute is worth to the user. Attributes
            below 0.35 of the whole norm go unmentioned, unless none is above.
    """
    size = np.abs(weights)
    order = np.argsort(-size, kind="stable")
    named = [i for i in order if size[i] >= 0.35 * np.linalg.norm(weights)] or [order[0]]
    words = [WORDS[ATTRIBUTES[i]][int(weights[i] > 0)] for i in named]
    return f"likes {', '.join(words)} answers"
