"""tacit: infer what one user wants from a handful of choices, and condition rewards on it.

The public names below load on first use, so `import tacit` costs nothing and `tacit --help` never waits for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tacit.choices import Choice, ChoiceTable, read_choices
    from tacit.embedders import ItemStore, resolve_embedder
    from tacit.errors import TacitError
    from tacit.evaluation import evaluate
    from tacit.rewards import RewardConfig, RewardModel, fit_reward

__all__ = [
    "Choice",
    "ChoiceTable",
    "ItemStore",
    "RewardConfig",
    "RewardModel",
    "TacitError",
    "__version__",
    "evaluate",
    "fit_reward",
    "read_choices",
    "resolve_embedder",
]

# Where each public name lives. A new one: a line here, in `__all__` and under TYPE_CHECKING; a test compares the three.
_HOMES = {
    "Choice": "tacit.choices",
    "ChoiceTable": "tacit.choices",
    "ItemStore": "tacit.embedders",
    "RewardConfig": "tacit.rewards",
    "RewardModel": "tacit.rewards",
    "TacitError": "tacit.errors",
    "evaluate": "tacit.evaluation",
    "fit_reward": "tacit.rewards",
    "read_choices": "tacit.choices",
    "resolve_embedder": "tacit.embedders",
}

__version__: str


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value = version("tacit")
    elif name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
