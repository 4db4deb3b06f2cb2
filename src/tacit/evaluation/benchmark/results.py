"""From cells to numbers: seeds pooled by user, every method against ours, its own control and the pooled reward."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tacit.baselines.method import Kind
from tacit.evaluation import mean_intervals, worst_decile
from tacit.evaluation.benchmark.cell import Cell
from tacit.evaluation.benchmark.methods import find_method

__all__ = ["DatasetResult", "MethodResult", "combine"]

OURS, POOLED = "np_btl", "btl"


@dataclass(frozen=True)
class MethodResult:
    """A method on a dataset, test users of all seeds together. Fractions, nats, seconds; by k.

    Shapes: `accuracy` ... `shuffled` Float64[ks]; intervals Float64[ks 2], 95 % over users.
    `over_pooled`: paired gain over the pooled BTL. `behind_ours`: paired gain of OURS over it. `control_interval`,
    Float64[2]: what it gains from another user's choices, all k > 0 of a user together, over the better of its own
    k = 0 and the pooled BTL.
    """

    accuracy: Tensor
    interval: Tensor
    nll: Tensor
    ece: Tensor
    worst_decile: Tensor
    shuffled: Tensor
    over_pooled: Tensor
    over_pooled_interval: Tensor
    behind_ours: Tensor
    behind_ours_interval: Tensor
    control_interval: Tensor
    fit_seconds: float
    adapt_seconds: float

    @property
    def leaks(self) -> bool:
        """Whether another user's choices help: then something other than the user is read off them."""
        return bool(self.control_interval[0] > 0)

    def to_json(self, ks: Sequence[int]) -> dict[str, Any]:
        """By name and k; NaN, where nobody has k choices, is left out."""
        plain: dict[str, Any] = {}
        for name, value in vars(self).items():
            if name == "control_interval":
                plain[name] = None if bool(value.isnan().any()) else value.tolist()
            elif isinstance(value, Tensor):
                known = ~value.isnan().reshape(len(ks), -1).any(1)
                rows = zip(ks, value.tolist(), known.tolist(), strict=True)
                plain[name] = {str(k): row for k, row, there in rows if there}
            else:
                plain[name] = value
        return plain | {"leaks": self.leaks}


@dataclass(frozen=True)
class DatasetResult:
    """All methods on one dataset."""

    name: str
    ks: tuple[int, ...]
    users: tuple[int, ...]
    seeds: tuple[int, ...]
    methods: Mapping[str, MethodResult]
    facts: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries."""
        return {
            "ks": list(self.ks),
            "users": dict(zip(map(str, self.ks), self.users, strict=True)),
            "seeds": list(self.seeds),
            "facts": dict(self.facts),
            "methods": {name: result.to_json(self.ks) for name, result in self.methods.items()},
        }

    def rivals(self, *kinds: Kind) -> list[str]:
        """Methods that ours is compared with: those of some kinds, or all but ours and the upper lines."""
        wanted = kinds or ("control", "strong", "published")
        return [name for name in self.methods if find_method(name).kind in wanted]

    def closest(self, *kinds: Kind) -> list[str | None]:
        """By k, the most accurate of the `rivals`; None where nobody has k choices."""
        rivals = self.rivals(*kinds)
        best: list[str | None] = []
        for place in range(len(self.ks)):
            found = {name: float(self.methods[name].accuracy[place]) for name in rivals}
            known = {name: value for name, value in found.items() if value == value}
            best.append(max(known, key=known.__getitem__) if known else None)
        return best


def combine(
    name: str, ks: tuple[int, ...], facts: Mapping[str, Any], seeds: Sequence[int], cells: Mapping[str, Sequence[Cell]]
) -> DatasetResult:
    """Pool seeds: users of one seed after those of another, in the same order for every method.

    Args:
        cells: by method, one cell for each seed.
    """
    accuracy = {method: _joined([cell.accuracy for cell in found]) for method, found in cells.items()}
    shuffled = {method: _joined([cell.shuffled for cell in found]) for method, found in cells.items()}
    unknown = torch.full_like(next(iter(accuracy.values())), torch.nan)
    ours, pooled = accuracy.get(OURS, unknown), accuracy.get(POOLED, unknown)
    methods = {}
    for method, found in cells.items():
        own = accuracy[method]
        methods[method] = MethodResult(
            accuracy=own.nanmean(1),
            interval=mean_intervals(own),
            nll=_joined([cell.nll for cell in found]).nanmean(1),
            ece=torch.stack([cell.ece for cell in found]).nanmean(0),
            worst_decile=worst_decile(own),
            shuffled=shuffled[method].nanmean(1),
            over_pooled=(own - pooled).nanmean(1),
            over_pooled_interval=mean_intervals(own - pooled),
            behind_ours=(ours - own).nanmean(1),
            behind_ours_interval=mean_intervals(ours - own),
            control_interval=_control(own, shuffled[method], pooled),
            fit_seconds=float(torch.stack([cell.costs[0] for cell in found]).mean()),
            adapt_seconds=float(torch.stack([cell.costs[1] for cell in found]).median()),
        )
    counts = (~next(iter(accuracy.values())).isnan()).sum(1).tolist()
    return DatasetResult(name, ks, tuple(counts), tuple(seeds), methods, facts)


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(parts), dim=1)


def _control(own: Tensor, shuffled: Tensor, pooled: Tensor) -> Tensor:
    """Interval Float64[2] of what strangers' choices bring, Float64[ks users] each; one test for a method, not one a k.

    A method may know everybody better than the pooled BTL does before it sees a choice: that is no leak.
    """
    floor = own[0] if own[0].nanmean() > pooled[0].nanmean() or bool(pooled.isnan().all()) else pooled[0]
    return mean_intervals((shuffled[1:] - floor).nanmean(0, keepdim=True))[0]
