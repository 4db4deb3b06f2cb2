"""The text world: people with hidden tastes choose between readable answers."""

from typing import TYPE_CHECKING

from tacit.lazy import lazy

if TYPE_CHECKING:
    from tacit.worlds.text.people import Users, calibrate_scale, draw_directions, draw_pairs
    from tacit.worlds.text.style import ATTRIBUTES, Style, describe
    from tacit.worlds.text.topics import Prompt, load_prompts
    from tacit.worlds.text.world import TextWorld
    from tacit.worlds.text.writer import write

__all__ = [
    "ATTRIBUTES",
    "Prompt",
    "Style",
    "TextWorld",
    "Users",
    "calibrate_scale",
    "describe",
    "draw_directions",
    "draw_pairs",
    "load_prompts",
    "write",
]
__getattr__, __dir__ = lazy(__name__, __file__)
