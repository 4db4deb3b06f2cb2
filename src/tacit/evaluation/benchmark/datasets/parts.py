"""What all datasets share: an index from pairs, masks of groups, and the facts beneath a table."""

import torch
from torch import Tensor

from tacit.choices import ChoiceIndex
from tacit.evaluation.benchmark.task import Part

__all__ = ["asked_users", "describe_parts", "foreseen", "group_mask", "pair_index", "side_of_choices"]

Facts = dict[str, float | int | str]


def pair_index(pairs: Tensor, group: Tensor, timestamp: Tensor | None = None) -> ChoiceIndex:
    """An index of equally many pairs per user.

    Shapes:
        pairs: Int64[users choices 2], item ids, the chosen one first.
        group: Int64[items], the group of every item.
        timestamp: Float64[users choices] seconds, or None.
    """
    users, choices, _ = pairs.shape
    items = pairs.reshape(-1, 2)
    return ChoiceIndex.build(
        torch.arange(users).repeat_interleave(choices),
        items,
        torch.tensor([0, 1]).expand_as(items),
        group[items],
        n_users=users,
        timestamp=None if timestamp is None else timestamp.reshape(-1),
    )


def group_mask(groups: Tensor, count: int) -> Tensor:
    """Bool[count], True at `groups` (Int64[chosen])."""
    mask = torch.zeros(count, dtype=torch.bool)
    mask[groups] = True
    return mask


def side_of_choices(part: Part) -> tuple[Tensor, Tensor]:
    """Bool[choices] each: whether a choice lies wholly on the context side, and wholly on the target side."""
    on_target = part.targets[part.index.group]
    return ~on_target.any(1), on_target.all(1)


def asked_users(part: Part) -> Tensor:
    """Int64[users]: those with a strict target choice."""
    strict = side_of_choices(part)[1] & (part.index.rank > 0).any(1)
    return part.index.user[strict].unique()


def foreseen(part: Part) -> float:
    """Share of the strict target pairs that someone who knows the true rewards foresees; equal rewards count half.

    For parts of pairs with a `truth`.
    """
    assert part.truth is not None
    rows = side_of_choices(part)[1] & (part.index.rank[:, 1] > 0)
    reward = part.truth[part.index.user[rows].unsqueeze(1), part.index.items[rows]]
    return torch.heaviside(reward[:, 0] - reward[:, 1], torch.tensor(0.5)).mean().item()


def describe_parts(train: Part, validation: Part, test: Part) -> Facts:
    """Users (where asked: with a strict target) and choices of each part, and how often the truth foresees a target."""
    facts: Facts = {"train_users": int((train.index.counts > 0).sum()), "train_choices": len(train.index)}
    for name, part in (("validation", validation), ("test", test)):
        context, target = side_of_choices(part)
        facts[f"{name}_users"] = len(asked_users(part))
        facts[f"{name}_context_choices"] = int(context.sum())
        facts[f"{name}_target_choices"] = int(target.sum())
    if test.truth is not None:
        facts["oracle_accuracy"] = round(foreseen(test), 4)
    return facts
