"""Oracle BTL: one pooled BTL per true group of users. It is told the group, so it is an upper line, not a rival."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from tacit.baselines.pooled import PooledBTL, fit_pooled
from tacit.choices.index import ChoiceIndex

__all__ = ["OracleBTL", "fit_oracle"]


@dataclass(frozen=True)
class OracleBTL:
    """The groups' own rewards; `told(group)` is a `PreferenceModel` for the users of that group."""

    models: tuple[PooledBTL, ...]

    def told(self, group: int) -> PooledBTL:
        """The model of one group."""
        return self.models[group]


def fit_oracle(
    choices: ChoiceIndex,
    vectors: Tensor,
    groups: Tensor,
    *,
    validation: ChoiceIndex,
    validation_groups: Tensor,
    **settings: Any,
) -> OracleBTL:
    """Fit one pooled BTL per group.

    Args:
        choices: training choices, as for `fit_reward`.
        vectors: raw item vectors Float[items dim].
        groups: Int64[users], the true group of each training user, 0 .. n - 1.
        validation: choices of other users.
        validation_groups: Int64[users], theirs.
        settings: other arguments of `fit_pooled`; under a `folder`, each group gets its own (`oracle-0`, ...).
    """
    models = []
    folder = settings.pop("folder", None)
    for group in range(int(groups.max()) + 1):
        own = choices.of_users((groups == group).nonzero().squeeze(1))
        others = validation.of_users((validation_groups == group).nonzero().squeeze(1))
        place = None if folder is None else Path(folder) / f"oracle-{group}"
        given = {"name": f"oracle {group}", **settings}
        models.append(fit_pooled(own, vectors, validation=others, folder=place, **given))
    return OracleBTL(tuple(models))
