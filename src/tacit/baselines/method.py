"""What a baseline brings: how it is fitted, and what the benchmark's table and its tuning need to know of it."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Protocol

from pydantic import BaseModel
from torch import Tensor

from tacit.choices.index import ChoiceIndex
from tacit.training.config import TrainingConfig

__all__ = ["BUDGET", "FAST_MANY", "KINDS", "Kind", "Method", "Settings", "grid"]

Kind = Literal["ours", "control", "strong", "published", "upper"]
KINDS: tuple[Kind, ...] = ("ours", "control", "strong", "published", "upper")
"""In the order of the table: ours; `control` (one reward for all); `strong` (textbook statistics); `published` (a
peer's personalised method); `upper` (told the true types: a line, not a rival)."""

Settings = Mapping[str, Any]
"""`{"config": {...}, "training": {...}, "principal": n}`, all optional: over the method's config, over the benchmark's
training, and how many principal components of items it is shown instead of their vectors (`Task.principal`)."""

BUDGET = 4
"""Settings that tuning may choose from: as many for every method."""

FAST_MANY = {"users_per_batch": 256, "targets": 4, "max_context": 10, "learning_rate": 5e-3}
"""Training with many users and few targets each: what noise-free types want (docs/log.md, the 1-D world)."""


class Method(Protocol):
    """A registered baseline: a class that is fitted to people.

    Attributes:
        label: what the table calls it.
        kind: its place in the table.
        config_class: its settings.
        grid: `BUDGET` settings; the first is the one its authors published, or our default.
    """

    label: ClassVar[str]
    kind: ClassVar[Kind]
    config_class: ClassVar[type[BaseModel]]
    grid: ClassVar[tuple[Settings, ...]]

    @classmethod
    def fit(
        cls,
        choices: ChoiceIndex,
        vectors: Tensor,
        *,
        validation: ChoiceIndex,
        target_groups: Tensor | None = None,
        config: Any = None,
        training: TrainingConfig | None = None,
        **told: Any,
    ) -> Any:
        """A `PreferenceModel` of the users of `choices`, stopped and calibrated on those of `validation`.

        Args:
            choices, vectors, validation, target_groups: as for `tacit.rewards.episodic_fit.fit_data`.
            config: an instance of `config_class`; None = its defaults.
            told: of an `upper` method `groups` and `validation_groups`, Int64[users], the true type of each user.
        """
        ...


def grid(*settings: dict[str, Any], training: Mapping[str, Any] | None = None) -> tuple[Settings, ...]:
    """Each setting's own `training` over a common one, its `principal`, and the rest as the method's config."""
    made = []
    for setting in settings:
        config = {key: value for key, value in setting.items() if key not in ("training", "principal")}
        view = {"principal": setting["principal"]} if "principal" in setting else {}
        made.append({"config": config, "training": {**(training or {}), **setting.get("training", {})}, **view})
    return tuple(made)
