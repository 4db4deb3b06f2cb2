"""How fast people change: the half-life of a choice as evidence, chosen on validation users."""

import logging
from typing import Any

import torch
from torch import Tensor

from tacit.choices.index import ChoiceIndex
from tacit.episodes.episode import Episode
from tacit.rewards.calibration import fit_temperature, measure
from tacit.rewards.episodic_fit import FitData, validation_episodes
from tacit.training.config import TrainingConfig

__all__ = ["fit_half_life", "timed"]

logger = logging.getLogger(__name__)

SPANS = (2.0, 1.0, 0.5, 0.25, 0.125, 0.0625)
"""Half-lives to try, in units of the time over which a typical validation user chose."""


def timed(index: ChoiceIndex) -> bool:
    """Whether every choice has a time."""
    return bool(torch.isfinite(index.timestamp).all())


def fit_half_life(
    network: Any, data: FitData, training: TrainingConfig, wanted: float | str
) -> tuple[float | None, float]:
    """The half-life in seconds and the temperature that goes with it.

    Validation users are asked as in use: contexts end at a moment of each user's history and targets come after it.
    `wanted` is a number, or "fit" for the one of least NLL, no ageing among them; None where choices have no times.
    """
    if not (timed(data.choices) and timed(data.validation)):
        return None, fit_temperature(network, data.episodes(training))
    episodes = validation_episodes(data.validation, data.vectors, training, data.target_groups, in_time=True)
    tried: list[float | None] = [float(wanted)] if wanted != "fit" else [None, *_candidates(data.validation)]
    best = min(tried, key=lambda life: measure(network, _aged(episodes, life))["nll"]) if len(tried) > 1 else tried[0]
    logger.info("half-life of a choice: %s", "none, choices do not age" if best is None else f"{best:.0f} seconds")
    return best, fit_temperature(network, _aged(episodes, best))


def _candidates(index: ChoiceIndex) -> list[float]:
    first = torch.full((index.n_users,), torch.inf, dtype=torch.float64)
    spans: Tensor = first.scatter_reduce(0, index.user, index.timestamp, "amin").neg_()
    spans += torch.full_like(first, -torch.inf).scatter_reduce(0, index.user, index.timestamp, "amax")
    typical = spans[index.counts > 1].median().item() if bool((index.counts > 1).any()) else 0.0
    return [share * typical for share in SPANS] if typical > 0 else []


def _aged(episodes: list[Episode], half_life: float | None) -> list[Episode]:
    return [episode.aged(half_life) for episode in episodes]
