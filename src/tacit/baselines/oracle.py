"""Oracle BTL: one pooled BTL per true group of users. It is told the group, so it is an upper line, not a rival."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from torch import Tensor

from tacit.baselines import baselines
from tacit.baselines.method import Kind, Settings
from tacit.baselines.pooled import POOLED_GRID, PooledBTL
from tacit.choices.index import ChoiceIndex
from tacit.rewards.config import RewardConfig

__all__ = ["OracleBTL"]


@baselines.register("oracle")
@dataclass(frozen=True)
class OracleBTL:
    """The groups' own rewards; `told(group)` is a `PreferenceModel` for the users of that group."""

    models: tuple[PooledBTL, ...]

    label: ClassVar[str] = "BTL per type, told"
    kind: ClassVar[Kind] = "upper"
    config_class: ClassVar[type[RewardConfig]] = RewardConfig
    grid: ClassVar[tuple[Settings, ...]] = POOLED_GRID

    def told(self, group: int) -> PooledBTL:
        """The model of one group."""
        return self.models[group]

    @classmethod
    def fit(
        cls,
        choices: ChoiceIndex,
        vectors: Tensor,
        *,
        groups: Tensor,
        validation: ChoiceIndex,
        validation_groups: Tensor,
        folder: Path | None = None,
        **settings: Any,
    ) -> Self:
        """Fit one pooled BTL per group.

        Args:
            groups, validation_groups: Int64[users], the true group of each user, 0 .. n - 1.
            folder: each group gets its own inside it (`oracle-0`, ...).
            settings: other arguments of `PooledBTL.fit`.
        """
        models = []
        for group in range(int(groups.max()) + 1):
            own = choices.of_users((groups == group).nonzero().squeeze(1))
            others = validation.of_users((validation_groups == group).nonzero().squeeze(1))
            place = None if folder is None else folder / f"oracle-{group}"
            given = {"name": f"oracle {group}", **settings}
            models.append(PooledBTL.fit(own, vectors, validation=others, folder=place, **given))
        return cls(tuple(models))
