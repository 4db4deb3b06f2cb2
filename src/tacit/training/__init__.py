"""Training of reward models: the loop, its configuration, checkpoints, hardware choice and collapse diagnostics."""

from tacit.training.config import ObjectiveConfig, TrainingConfig
from tacit.training.diagnostics import collapse_report
from tacit.training.loop import Event, TrainingResult, train

__all__ = ["Event", "ObjectiveConfig", "TrainingConfig", "TrainingResult", "collapse_report", "train"]
