"""Recipes: what a command-line verb does, in one call on tables and folders."""

from typing import TYPE_CHECKING

from tacit.lazy import lazy

if TYPE_CHECKING:
    from tacit.workflows.assessment import Assessment, assess, load_with_control
    from tacit.workflows.embed import Embedded, embed_items
    from tacit.workflows.items import embedder_of, item_vectors, table_embedder
    from tacit.workflows.policy import train_policy
    from tacit.workflows.reward import TrainedReward, train_reward
    from tacit.workflows.users import InferredUser, ScoredItem, infer_user, load_profile, score_items

__all__ = [
    "Assessment",
    "Embedded",
    "InferredUser",
    "ScoredItem",
    "TrainedReward",
    "assess",
    "embed_items",
    "embedder_of",
    "infer_user",
    "item_vectors",
    "load_profile",
    "load_with_control",
    "score_items",
    "table_embedder",
    "train_policy",
    "train_reward",
]
__getattr__, __dir__ = lazy(__name__, __file__)
