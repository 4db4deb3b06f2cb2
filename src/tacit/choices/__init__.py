"""Choices: what users preferred, read from any log, checked and split. Reading needs no torch."""

from typing import TYPE_CHECKING

from tacit.lazy import lazy

if TYPE_CHECKING:
    from tacit.choices.choice import Choice, item_key
    from tacit.choices.conversation import Conversation
    from tacit.choices.index import ChoiceIndex
    from tacit.choices.readers import read_choices, read_items
    from tacit.choices.splits import Cut, cut, split_groups, split_users
    from tacit.choices.table import ChoiceTable

__all__ = [
    "Choice",
    "ChoiceIndex",
    "ChoiceTable",
    "Conversation",
    "Cut",
    "cut",
    "item_key",
    "read_choices",
    "read_items",
    "split_groups",
    "split_users",
]
__getattr__, __dir__ = lazy(__name__, __file__)
