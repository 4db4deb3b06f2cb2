"""Choices: what users preferred, read from files, checked and split."""

from tacit.choices.choice import Choice, item_key
from tacit.choices.index import ChoiceIndex
from tacit.choices.readers import read_choices, read_items
from tacit.choices.splits import Cut, cut, split_groups, split_users
from tacit.choices.table import ChoiceTable

__all__ = [
    "Choice",
    "ChoiceIndex",
    "ChoiceTable",
    "Cut",
    "cut",
    "item_key",
    "read_choices",
    "read_items",
    "split_groups",
    "split_users",
]
