"""Evaluate a preference model on users it has not met: at each k, with controls and intervals."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tacit.choices import ChoiceIndex
from tacit.errors import ConfigError
from tacit.evaluation.bootstrap import RESAMPLES, calibration_intervals, mean_intervals
from tacit.evaluation.episodes import ItemVectors, TargetGroups, evaluation_episodes
from tacit.evaluation.metrics import HIGHER_IS_BETTER, PER_USER, Calibration, calibration, mean_over_users, worst_decile
from tacit.evaluation.predictions import Predictions, predict
from tacit.evaluation.report import Reliability, Report, Summary
from tacit.rewards.protocol import PreferenceModel

__all__ = ["compare", "evaluate"]

logger = logging.getLogger(__name__)


def evaluate(
    model: PreferenceModel[Any],
    index: ChoiceIndex,
    vectors: ItemVectors,
    *,
    ks: Sequence[int] = (0, 1, 3, 5, 10, 20),
    seed: int = 0,
    pooled: PreferenceModel[Any] | None = None,
    target_groups: TargetGroups | None = None,
    target_fraction: float = 0.5,
    max_targets: int = 50,
    parts: Mapping[str, Tensor] | None = None,
    resamples: int = RESAMPLES,
    users_per_chunk: int = 256,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Measure how well `model` predicts the choices of users from k of their other choices.

    Args:
        model: what is tested, always beside itself with adaptation off and with another user's context.
        index: choices of the users to evaluate; nothing of them may have been trained on.
        vectors: Float[items dim], or an item store.
        ks: context sizes.
        seed: fixes the division into sides, targets, contexts, donors and resamples; methods that are to be compared
            take the same seed.
        pooled: one reward for everybody: the control that every table should carry.
        target_groups: which groups may be targets (Bool[groups] or a function of group ids), e.g. unseen prompts.
        target_fraction: otherwise the chance that a group is a target group.
        max_targets: target pairs per user, at most.
        parts: named subsets, Bool[users of the index], reported apart (say users seen and unseen in training).
        resamples: bootstrap resamples of users.
        users_per_chunk: users asked at once; bounds the memory.
        progress: called with (users asked, users).

    Raises:
        ConfigError: settings out of range.
        ChoiceError: no user has a strict target.
        ModelFormatError: the model breaks the protocol (no probabilities, NaN).
    """
    ks = tuple(sorted(set(ks)))
    if not ks or ks[0] < 0 or resamples < 1 or users_per_chunk < 1:
        raise ConfigError(
            "expected at least one k, none below 0, and resamples and users_per_chunk of at least 1; "
            f"found k = {list(ks)}, {resamples}, {users_per_chunk}"
        )
    for name, subset in (parts or {}).items():
        if subset.dtype != torch.bool or subset.shape != (index.n_users,):
            raise ConfigError(
                f"part {name!r}: expected Bool[{index.n_users} users], found {subset.dtype} {tuple(subset.shape)}"
            )
    episodes = evaluation_episodes(
        index,
        max_k=ks[-1],
        max_targets=max_targets,
        target_fraction=target_fraction,
        target_groups=target_groups,
        seed=seed,
    )
    logger.info(
        "evaluating %s on %d users, %d target pairs", model.name, len(episodes.users), int(episodes.n_targets.sum())
    )
    predictions = predict(
        model, episodes, vectors, ks, pooled=pooled, seed=seed, users_per_chunk=users_per_chunk, progress=progress
    )
    every = predictions.has_k.all(0)
    report = _report(predictions, resamples, seed)
    subsets = {name: subset[episodes.users] for name, subset in (parts or {}).items()}
    if not every.all():
        subsets = {"every_k": every} | subsets
    return replace(
        report,
        episodes={
            "model": model.name,
            "pooled": None if pooled is None else pooled.name,
            "seed": seed,
            "users": len(episodes.users),
            "targets": int(episodes.n_targets.sum()),
            "max_targets": max_targets,
            "tied_targets": episodes.ties,
            "crossing_choices": episodes.crossing,
            "users_without_target": episodes.without_target,
        },
        parts={
            name: _report(_of_users(predictions, subset), resamples, seed)
            for name, subset in subsets.items()
            if subset.any()
        },
        predictions=predictions,
    )


def compare(ours: Report, theirs: Report, *, resamples: int = RESAMPLES, seed: int = 0) -> Summary:
    """The paired gain of one evaluated model over another, by k; positive = `ours` is better, whatever the metric.

    Raises:
        ConfigError: the two were not asked the same questions (other users, k, seed or data).
    """
    a, b = ours.predictions, theirs.predictions
    if a is None or b is None:
        raise ConfigError("a report without predictions (a part, or one read from a file) cannot be compared per user")
    if (
        a.ks != b.ks
        or ours.episodes["seed"] != theirs.episodes["seed"]
        or not torch.equal(a.users, b.users)
        or not torch.equal(a.targets, b.targets)
        or not torch.equal(a.real, b.real)
    ):
        raise ConfigError("the two reports are on different users, targets or k; evaluate both with the same arguments")
    gain = _differences(_per_user(a)["model"], _per_user(b)["model"])
    return _by_k(_means(gain), _bounds({"gain": gain}, a.ks, resamples, seed)["gain"], a.ks)


Scores = dict[str, Tensor]
"""Metric name -> Float64[ks users]; NaN where a user lacks k choices."""


def _report(predictions: Predictions, resamples: int, seed: int) -> Report:
    ks, scores = predictions.ks, _per_user(predictions)
    controls = [name for name in scores if name != "model"]
    bins = {name: [calibration(p, predictions.real) for p in chosen] for name, chosen in predictions.chosen.items()}
    curves = {**scores, **{f"gain over {name}": _differences(scores["model"], scores[name]) for name in controls}}
    bounds = _bounds(curves, ks, resamples, seed)
    for name, of_ece in _ece_bounds(scores, bins, resamples, seed).items():
        bounds[name]["ece"] = of_ece

    def summary(name: str) -> Summary:
        means = _means(curves[name])
        if name in bins:
            means["ece"] = torch.tensor([found.ece for found in bins[name]], dtype=torch.float64)
            means["worst_decile"] = worst_decile(scores[name]["accuracy"])
        return _by_k(means, bounds[name], ks)

    return Report(
        model=summary("model"),
        controls={name: summary(name) for name in controls},
        gain={name: summary(f"gain over {name}") for name in controls},
        n_users={k: int(has.sum()) for k, has in zip(ks, predictions.has_k, strict=True)},
        n_users_every_k=int(predictions.has_k.all(0).sum()),
        reliability={k: _reliability(found) for k, found in zip(ks, bins["model"], strict=True) if found.mass.any()},
        episodes={},
    )


def _per_user(predictions: Predictions) -> dict[str, Scores]:
    return {
        name: {metric: function(chosen, predictions.real) for metric, function in PER_USER.items()}
        for name, chosen in predictions.chosen.items()
    }


def _differences(ours: Scores, theirs: Scores) -> Scores:
    """Per user, how much better `ours` is: positive is better for every metric."""
    return {metric: (ours[metric] - theirs[metric]) * (1 if HIGHER_IS_BETTER[metric] else -1) for metric in ours}


def _means(scores: Scores) -> dict[str, Tensor]:
    return {metric: mean_over_users(values) for metric, values in scores.items()}


def _bounds(
    curves: Mapping[str, Scores], ks: tuple[int, ...], resamples: int, seed: int
) -> dict[str, dict[str, Tensor]]:
    """Intervals Float64[ks 2] of every metric of every curve, all from the same resamples, drawn once."""
    rows = [(name, metric) for name, scores in curves.items() for metric in scores]
    stacked = torch.cat([curves[name][metric] for name, metric in rows])
    found: dict[str, dict[str, Tensor]] = {name: {} for name in curves}
    for (name, metric), bounds in zip(
        rows, mean_intervals(stacked, resamples=resamples, seed=seed).split(len(ks)), strict=True
    ):
        found[name][metric] = bounds
    return found


def _ece_bounds(
    scores: Mapping[str, Scores], bins: Mapping[str, list[Calibration]], resamples: int, seed: int
) -> dict[str, Tensor]:
    """Intervals Float64[ks 2] of the calibration error of every method."""
    gaps = torch.cat([torch.stack([found.gaps for found in bins[name]]) for name in scores])
    counted = torch.cat([~scores[name]["accuracy"].isnan() for name in scores])
    bounds = calibration_intervals(gaps, counted, resamples=resamples, seed=seed).chunk(len(scores))
    return dict(zip(scores, bounds, strict=True))


def _by_k(values: Mapping[str, Tensor], bounds: Mapping[str, Tensor], ks: tuple[int, ...]) -> Summary:
    """Tensors over k as dictionaries, without the k that nobody has."""
    kept = [(k, i) for i, k in enumerate(ks) if not values["accuracy"][i].isnan()]
    return Summary(
        {metric: {k: float(v[i]) for k, i in kept} for metric, v in values.items()},
        {metric: {k: (float(v[i, 0]), float(v[i, 1])) for k, i in kept} for metric, v in bounds.items()},
    )


def _reliability(found: Calibration) -> Reliability:
    filled = found.mass > 0
    return Reliability(*(tuple(values[filled].tolist()) for values in (found.confidence, found.accuracy, found.mass)))


def _of_users(predictions: Predictions, rows: Tensor) -> Predictions:
    """The predictions for some of the users (Bool[users])."""
    return Predictions(
        predictions.ks,
        predictions.users[rows],
        predictions.has_k[:, rows],
        predictions.targets[rows],
        predictions.real[rows],
        {name: chosen[:, rows] for name, chosen in predictions.chosen.items()},
    )
