"""Training of reward models: the loop, its configuration, checkpoints, hardware choice and collapse diagnostics."""

from typing import TYPE_CHECKING

from tacit.lazy import lazy

if TYPE_CHECKING:
    from tacit.training.config import ObjectiveConfig, TrainingConfig
    from tacit.training.diagnostics import collapse_report
    from tacit.training.loop import TrainingResult, train

__all__ = ["ObjectiveConfig", "TrainingConfig", "TrainingResult", "collapse_report", "train"]
__getattr__, __dir__ = lazy(__name__, __file__)
