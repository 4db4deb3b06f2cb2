"""The error hierarchy. A message is one line: what was found, what was expected, how to mend it.

The command line turns every `TacitError` into that line and exit code 2.
"""

__all__ = [
    "ChoiceError",
    "ConfigError",
    "EmbeddingError",
    "ModelFormatError",
    "OutputError",
    "StateMismatchError",
    "TacitError",
]


class TacitError(Exception):
    """Root of every error that tacit raises on purpose."""


class ChoiceError(TacitError):
    """Malformed preference data: a missing column, an empty text, a bad row, too few users."""


class ConfigError(TacitError):
    """A setting that is unknown, out of range, or contradicts another."""


class EmbeddingError(TacitError):
    """An embedder or item store that is missing, damaged, of another shape, or lossy."""


class ModelFormatError(TacitError):
    """A saved model, checkpoint or profile that is truncated, altered or of another version."""


class OutputError(TacitError):
    """A place to write to that holds a finished run, an unfinished one of other settings, or has a writer already."""


class StateMismatchError(TacitError):
    """A user state used with a model that did not make it, or merged with one it overlaps."""
