"""tacit: infer what one user wants from a handful of choices, and condition rewards on it.

The public names below load on first use, so `import tacit` costs nothing and `tacit --help` never waits for torch.
"""

from typing import TYPE_CHECKING, Any

from tacit.lazy import lazy

if TYPE_CHECKING:
    from tacit.choices import Choice, ChoiceTable, read_choices
    from tacit.embedders import ItemStore, resolve_embedder
    from tacit.engines import open_engine
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
    "open_engine",
    "read_choices",
    "resolve_embedder",
]

_get, __dir__ = lazy(__name__, __file__)
__version__: str


def __getattr__(name: str) -> Any:
    if name != "__version__":
        return _get(name)
    from importlib.metadata import version

    return version("tacit")
