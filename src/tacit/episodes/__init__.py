"""Episodes: which choices are context and which are targets, drawn as tensor operations on ids."""

from typing import TYPE_CHECKING

from tacit.lazy import lazy

if TYPE_CHECKING:
    from tacit.episodes.batch import ChoiceBatch
    from tacit.episodes.contexts import draw_contexts
    from tacit.episodes.episode import Episode
    from tacit.episodes.hashing import hash_unit, mix, step_generator
    from tacit.episodes.sampler import EpisodeSampler

__all__ = ["ChoiceBatch", "Episode", "EpisodeSampler", "draw_contexts", "hash_unit", "mix", "step_generator"]
__getattr__, __dir__ = lazy(__name__, __file__)
