"""Simulated people: what they value, and how noisily they choose."""

from typing import Literal

import numpy as np

from tacit.errors import ConfigError

__all__ = ["Users", "calibrate_scale", "draw_directions", "draw_pairs"]

Users = Literal["sphere", "discrete"]


def draw_directions(kind: Users, n_users: int, dim: int, rng: np.random.Generator) -> np.ndarray:
    """Unit weight vectors Float64[users dim].

    `"sphere"`: uniform on the unit sphere, so that everyone is different. `"discrete"`: one of `2 dim` types, each of
    which cares for a single attribute, for or against.
    """
    if kind == "sphere":
        weights = rng.standard_normal((n_users, dim))
        return weights / np.linalg.norm(weights, axis=1, keepdims=True)
    if kind == "discrete":
        types = np.concatenate([np.eye(dim), -np.eye(dim)])
        return types[rng.integers(len(types), size=n_users)]
    raise ConfigError(f"users is {kind!r}; expected 'sphere' or 'discrete'")


def draw_pairs(n_users: int, count: int, n_prompts: int, responses: int, rng: np.random.Generator) -> np.ndarray:
    """Pairs of different responses to one prompt, Int64[users count 2], as item ids `prompt * responses + response`.

    No user sees a prompt again before having seen all, and no user sees a pair twice.
    """
    first, second = np.triu_indices(responses, 1)
    rounds = -(-count // n_prompts)
    if rounds > len(first):
        raise ConfigError(
            f"choices_per_user is {count}, but {n_prompts} prompts with {responses} responses make only "
            f"{n_prompts * len(first)} pairs; ask for fewer choices or more responses"
        )
    prompt = np.concatenate(
        [rng.random((n_users, n_prompts)).argsort(axis=1) for _ in range(rounds)], axis=1
    )[:, :count]  # fmt: skip
    start = rng.integers(len(first), size=(n_users, n_prompts))
    turn = np.arange(count) // n_prompts
    pair = (np.take_along_axis(start, prompt, axis=1) + turn) % len(first)
    items = np.stack([first[pair], second[pair]], axis=-1)
    swap = rng.random(pair.shape) < 0.5
    items[swap] = items[swap][:, ::-1]
    return items + prompt[..., None] * responses


def calibrate_scale(margins: np.ndarray, accuracy: float) -> float:
    """The scale s at which mean sigmoid(s |margin|) is `accuracy`: how often the oracle foresees a BTL choice.

    Bisection: deterministic, and the mean rises with s.

    Args:
        margins: Float64[pairs], reward differences of unit weights.
        accuracy: a fraction above 1/2 and below 1.

    Raises:
        ConfigError: `accuracy` is out of range, or out of reach because too many margins are zero.
    """
    if not 0.5 < accuracy < 1:
        raise ConfigError(f"oracle accuracy is {accuracy}; expected a fraction above 0.5 and below 1, such as 0.875")
    size = np.abs(margins)

    def reached(scale: float) -> float:
        return float(np.mean(1 / (1 + np.exp(-scale * size))))

    low, high = 0.0, 1e4
    if reached(high) < accuracy:
        raise ConfigError(
            f"oracle accuracy {accuracy} is out of reach: too many answers are worth the same to someone; "
            f"expected at most {reached(high):.3f}"
        )
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if reached(middle) < accuracy else (low, middle)
    return high
