"""Evaluation: episodes that cannot leak, metrics per user, intervals over users, controls beside every result."""

from typing import TYPE_CHECKING

from tacit.lazy import lazy

if TYPE_CHECKING:
    from tacit.evaluation.bootstrap import calibration_intervals, mean_intervals
    from tacit.evaluation.episodes import (
        EvaluationEpisodes,
        ItemVectors,
        TargetGroups,
        TargetPairs,
        evaluation_episodes,
    )
    from tacit.evaluation.metrics import Calibration, accuracy, brier, calibration, mean_over_users, nll, worst_decile
    from tacit.evaluation.plots import plot_accuracy, plot_reliability
    from tacit.evaluation.predictions import Predictions, derangement, predict
    from tacit.evaluation.report import Reliability, Report, Summary
    from tacit.evaluation.run import compare, evaluate

__all__ = [
    "Calibration",
    "EvaluationEpisodes",
    "ItemVectors",
    "Predictions",
    "Reliability",
    "Report",
    "Summary",
    "TargetGroups",
    "TargetPairs",
    "accuracy",
    "brier",
    "calibration",
    "calibration_intervals",
    "compare",
    "derangement",
    "evaluate",
    "evaluation_episodes",
    "mean_intervals",
    "mean_over_users",
    "nll",
    "plot_accuracy",
    "plot_reliability",
    "predict",
    "worst_decile",
]
__getattr__, __dir__ = lazy(__name__, __file__)
