"""What the people of a typical minority want, as the model infers it.

The posterior means of people the model was not trained on are cut in two (2-means, started from the two sides of their
first principal axis, so that nothing is random). The smaller half is the minority. Its typical members are those
nearest to its centre; `explain` tells for each of them which items rise and fall against the model's picture of a
stranger, and their average is what is shown. Choices only ever compare answers to one prompt, so an item's shift is
taken against the other answers to its prompt.

Two halves there always are. `separation`, the between-group share of the variance along the line between the two
centres, says whether they are groups: about 0.64 when a normal cloud is cut in the middle, 1 for two clean types.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tacit.choices import ChoiceIndex
from tacit.encoders.state import UserStates
from tacit.episodes.batch import ChoiceBatch
from tacit.evaluation.benchmark.task import Part, Task
from tacit.rewards.model import RewardModel

__all__ = ["Minority", "Moved", "find_minority", "two_means"]

SHOWN = 5
TYPICAL = 20
FEWEST = 5
FAIR_SHARE = 0.05
CLEAR = 0.8
MOST_CHOICES = 100
MOST_ITEMS = 2000
_USERS_AT_ONCE = 64


@dataclass(frozen=True)
class Moved:
    """An item whose reward differs for the minority.

    Attributes:
        item: its number.
        prompt, response: its texts; None where items are not texts.
        shift: mean move of its reward over typical members, nats, against a stranger's and against its prompt's others.
        agreeing: share of the typical members for whom it moves that way.
    """

    item: int
    prompt: str | None
    response: str | None
    shift: float
    agreeing: float


@dataclass(frozen=True)
class Minority:
    """The smaller of two groups of people.

    Attributes:
        share: of the people looked at.
        people: how many were looked at.
        separation: between-group share of the variance along the line between the centres.
        rising, falling: the items that move most, most moved first.
    """

    share: float
    people: int
    separation: float
    rising: tuple[Moved, ...]
    falling: tuple[Moved, ...]

    @property
    def clear(self) -> bool:
        """Whether the two groups stand apart, instead of being one cloud cut in two."""
        return self.separation > CLEAR


def find_minority(model: RewardModel, task: Task) -> Minority | None:
    """The minority among the validation and test users of `task`, or None where no fair share stands apart.

    Args:
        model: trained on the training users of `task`.
        task: users bring their context choices only.
    """
    states = [state for part in (task.validation, task.test) for state in _states(model, part, task.vectors)]
    people = sum(map(len, states))
    if people < 2 * FEWEST:
        return None
    means = torch.cat([model.posterior(state).mean for state in states]).double()
    member = two_means(means)
    share = float(member.double().mean())
    if share < FAIR_SHARE or int(member.sum()) < FEWEST:
        return None
    apart = (means - means[member].mean(0)).norm(dim=1).masked_fill(~member, torch.inf)
    typical = apart.argsort(stable=True)[: min(TYPICAL, int(member.sum()))]
    items, prompt_of = _items(task)
    shifts = []
    start = 0
    for state in states:
        inside = typical[(typical >= start) & (typical < start + len(state))] - start
        if len(inside):
            shifts += [_shift(report) for report in model.explain(state[inside], task.vectors[items])]
        start += len(state)
    shift = _against_prompt(torch.stack(shifts), prompt_of)
    return Minority(share, people, _separation(means, member), *_extremes(shift, items, task.texts))


def two_means(points: Tensor) -> Tensor:
    """Bool[points]: the smaller of two clusters of Float64[points dim] (ties: the one without point 0)."""
    centred = points - points.mean(0)
    axis = torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -1]
    side = centred @ axis > 0
    for _ in range(100):
        if not side.any() or side.all():
            break
        centres = torch.stack([centred[~side].mean(0), centred[side].mean(0)])
        moved = (centred - centres[1]).norm(dim=1) < (centred - centres[0]).norm(dim=1)
        if torch.equal(moved, side):
            break
        side = moved
    inside = int(side.sum())
    smaller = inside < len(side) - inside or (2 * inside == len(side) and not side[0])
    return side if smaller else ~side


def _separation(points: Tensor, member: Tensor) -> float:
    line = points[member].mean(0) - points[~member].mean(0)
    along = points @ line
    within = sum(float((along[side] - along[side].mean()).square().sum()) for side in (member, ~member))
    total = float((along - along.mean()).square().sum())
    return 1 - within / total if total else 0.0


def _states(model: RewardModel, part: Part, vectors: Tensor) -> list[UserStates]:
    """States of the users of a part after their context choices (at most `MOST_CHOICES`), some users at a time."""
    index = part.index.select(~part.targets[part.index.group].any(1))
    index = index.of_users((index.counts > 0).nonzero().squeeze(1))
    return [model.infer(_batch(index, users, vectors)) for users in torch.arange(index.n_users).split(_USERS_AT_ONCE)]


def _batch(index: ChoiceIndex, users: Tensor, vectors: Tensor) -> ChoiceBatch:
    slot = torch.arange(min(int(index.counts[users].max()), MOST_CHOICES))
    real = slot < index.counts[users].unsqueeze(1)
    position = torch.where(real, index.offsets[users].unsqueeze(1) + slot, 0)
    time = None if bool(index.timestamp.isnan().all()) else index.timestamp[position]
    return ChoiceBatch(vectors[index.items[position]], index.rank[position], index.weight[position] * real, time)


def _items(task: Task) -> tuple[Tensor, Tensor]:
    """Int64[items]: the most judged items and the prompt of each (all one prompt where items are not texts)."""
    judged = torch.cat([part.index.items[part.index.rank >= 0] for part in (task.train, task.validation, task.test)])
    count = torch.bincount(judged, minlength=len(task.vectors))
    items = count.argsort(descending=True, stable=True)[: min(MOST_ITEMS, int((count > 0).sum()))]
    if task.texts is None:
        return items, torch.zeros_like(items)
    numbers: dict[str, int] = {}
    prompts = [numbers.setdefault(task.texts[item][0], len(numbers)) for item in items.tolist()]
    return items, torch.tensor(prompts)


def _shift(report: dict[str, Any]) -> Tensor:
    shift = torch.zeros(len(report["items"]), dtype=torch.float64)
    for row in report["items"]:
        shift[row["index"]] = row["shift"]
    return shift


def _against_prompt(shift: Tensor, prompt: Tensor) -> Tensor:
    """Float64[users items] minus each user's mean over the items of the same prompt."""
    total = torch.zeros(len(shift), int(prompt.max()) + 1, dtype=torch.float64).index_add_(1, prompt, shift)
    return shift - (total / torch.bincount(prompt))[:, prompt]


def _extremes(
    shift: Tensor, items: Tensor, texts: tuple[tuple[str, str], ...] | None
) -> tuple[tuple[Moved, ...], tuple[Moved, ...]]:
    mean = shift.mean(0)
    order = mean.argsort(descending=True, stable=True)

    def moved(places: Tensor, sign: int) -> tuple[Moved, ...]:
        found = []
        for place in places.tolist():
            if sign * float(mean[place]) <= 0:
                break
            item = int(items[place])
            agreeing = float((sign * shift[:, place] > 0).double().mean())
            found.append(Moved(item, *(texts[item] if texts else (None, None)), float(mean[place]), agreeing))
        return tuple(found)

    return moved(order[:SHOWN], 1), moved(order.flip(0)[:SHOWN], -1)
