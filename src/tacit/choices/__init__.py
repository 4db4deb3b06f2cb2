"""Choices: what users preferred, read from files, checked and split."""

from tacit.choices.choice import Choice, item_key
from tacit.choices.index import ChoiceIndex

__all__ = ["Choice", "ChoiceIndex", "item_key"]
