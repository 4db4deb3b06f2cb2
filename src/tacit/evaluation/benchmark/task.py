"""What a dataset gives to the benchmark: three sets of users, and which groups may be asked about."""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from tacit.choices import ChoiceIndex
from tacit.errors import ChoiceError
from tacit.rewards.network import Standardizer

__all__ = ["KS", "Part", "Task"]

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
