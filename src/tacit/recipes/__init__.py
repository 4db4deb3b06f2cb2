"""Recipes: what a command-line verb does, in one call on tables and folders."""

from tacit.recipes.items import embedder_of, item_vectors, table_embedder
from tacit.recipes.reward import TrainedReward, train_reward

__all__ = ["TrainedReward", "embedder_of", "item_vectors", "table_embedder", "train_reward"]
