"""What a dataset gives to the benchmark: three sets of users, and which groups may be asked about."""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from tacit.choices import ChoiceIndex
from tacit.errors import ChoiceError
from tacit.rewards.network import Standardizer

__all__ = ["KS", "Part", "Task", "asked_users", "describe_parts", "foreseen", "side_of_choices"]

KS = (0, 1, 2, 5, 10, 20)


@dataclass(frozen=True)
class Part:
    """Users of one side and the questions that may be asked of them.

    Shapes:
        index: their choices over the task's items, users numbered from 0.
        targets: Bool[groups], the groups that are target groups; contexts come from all others. Where the task is about
            new items, no choice of a training user touches a target group of the validation or test part.
        types: Int64[users], the true type of each user where users are a few types that somebody knows, else None.
        truth: Float32[users items], true rewards where somebody knows them, else None.
    """

    index: ChoiceIndex
    targets: Tensor
    types: Tensor | None = None
    truth: Tensor | None = None

    @property
    def n_users(self) -> int:
        """Users, those without a choice included."""
        return self.index.n_users


@dataclass(frozen=True)
class Task:
    """One draw of a dataset: same name and seed, same task.

    Users of the three parts are different people. Training sees `train` only; settings, early stopping and calibration
    see `validation`; `test` is read by the final command alone. `train.targets` is unused (training tosses coins).

    Attributes:
        name, seed: what was drawn.
        vectors: raw item vectors Float32[items dim].
        texts: (prompt, response) of every item, None where items are not texts.
        ks: context sizes that make sense here.
        facts: what a table's footnote should tell (counts, shares); plain JSON.
    """

    name: str
    seed: int
    vectors: Tensor
    train: Part
    validation: Part
    test: Part
    texts: tuple[tuple[str, str], ...] | None = None
    ks: tuple[int, ...] = KS
    facts: dict[str, float | int | str] = field(default_factory=dict)

    def principal(self, components: int | None) -> "Task":
        """The same task with items read by so many whitened principal components of the training items.

        None leaves it as it is; a world of fewer numbers per item has as many components as numbers.
        """
        if components is None:
            return self
        index = self.train.index
        used = self.vectors[index.items[index.rank >= 0].unique()].float()
        view = Standardizer(self.vectors.shape[1], min(components, *used.shape))
        view.fit(used)
        with torch.no_grad():
            return replace(self, vectors=view(self.vectors.float()))

    def __post_init__(self) -> None:
        for name in ("train", "validation", "test"):
            index = getattr(self, name).index
            if not len(index) or int(index.items.max()) >= len(self.vectors):
                raise ChoiceError(f"task {self.name!r}: the {name} part has no choices, or items without a vector")
        if not bool(torch.isfinite(self.vectors).all()):
            raise ChoiceError(f"task {self.name!r}: item vectors hold NaN or infinity")


Facts = dict[str, float | int | str]


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
