"""Workflows: what a command-line verb does, in one call on tables and folders."""

from typing import TYPE_CHECKING

from tacit.lazy import lazy

if TYPE_CHECKING:
    from tacit.workflows.assessment import Assessment, assess, load_with_control
    from tacit.workflows.embed import Embedded, embed_items
    from tacit.workflows.policy import train_policy
    from tacit.workflows.reward import TrainedReward, train_reward

__all__ = [
    "Assessment",
    "Embedded",
    "TrainedReward",
    "assess",
    "embed_items",
    "load_with_control",
    "train_policy",
    "train_reward",
]
__getattr__, __dir__ = lazy(__name__, __file__)
