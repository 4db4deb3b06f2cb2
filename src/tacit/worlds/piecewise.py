"""The paper's 1-D world: two kinds of users who agree on small numbers and disagree on large ones.

Items are y ~ U[0, 1]. Type 0 likes r(y) = y if y < 0.5 else 2y; type 1 likes r(y) = y if y < 0.5 else 1 - y. Choices
are noise-free. Pairs come from one pool split 80 / 10 / 10, so test users choose between items nobody has seen.
Source: Kobalczyk et al., arXiv 2412.13998, section 5.1.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from tacit.choices.index import ChoiceIndex
from tacit.errors import ConfigError

__all__ = ["PiecewisePart", "PiecewiseWorld", "bayes_optimal_accuracy", "piecewise_reward"]


def piecewise_reward(y: Tensor, kind: Tensor) -> Tensor:
    """Reward of items y Float[...] for user type `kind` Int64[...] (0 or 1), broadcast."""
    return torch.where(y < 0.5, y, torch.where(kind == 0, 2 * y, 1 - y))


def bayes_optimal_accuracy(disagreement: float, k: int) -> float:
    """Best possible accuracy after k choices, if the types disagree on a share f of the pairs: 1 - (1 - f)^k f / 2.

    Only a pair on which the types disagree tells them apart, and tells all; until then such a pair is a coin toss.
    """
    return 1 - (1 - disagreement) ** k * disagreement / 2


@dataclass(frozen=True)
class PiecewisePart:
    """Users of one split: their choices, their hidden types, and the pool of pairs they choose among.

    Shapes: index over the world's items; kind Int64[users]; disagreement: share of the part's own pairs of the pool on
    which the types differ.
    """

    index: ChoiceIndex
    kind: Tensor
    disagreement: float


@dataclass(frozen=True)
class PiecewiseWorld:
    """Train, validation and test users over disjoint pools of pairs.

    Shapes: vectors Float[items 1], the items of all pools; disagree Bool[pairs], where the two types differ. Pair
    `p` is the items `2 p` and `2 p + 1`, and the group `p` of its choices.
    """

    vectors: Tensor
    disagree: Tensor
    train: PiecewisePart
    validation: PiecewisePart
    test: PiecewisePart

    @classmethod
    def generate(
        cls,
        seed: int,
        *,
        pairs: int = 20_000,
        users: tuple[int, int, int] = (4000, 500, 2000),
        choices: tuple[int, int, int] = (60, 60, 160),
    ) -> "PiecewiseWorld":
        """`users` and `choices` per user for train, validation and test; types alternate, so they are balanced."""
        generator = torch.Generator().manual_seed(seed)
        y = torch.rand(pairs, 2, generator=generator)
        cuts = (0, int(0.8 * pairs), int(0.9 * pairs), pairs)
        parts = [_part(y, cuts[i], cuts[i + 1], users[i], choices[i], generator) for i in range(3)]
        return cls(y.reshape(-1, 1), _second_wins(y).diff(dim=0)[0], *parts)

    def balanced_targets(self) -> Tensor:
        """Bool[pairs]: every other pair, in such a way that types differ as often on either half of the test pool.

        A half drawn blindly differs from the pool by a point or so in the share of disagreement, and with it the
        Bayes-optimal accuracy of that half.
        """
        order = torch.argsort(self.disagree.long(), stable=True)
        targets = torch.zeros(len(self.disagree), dtype=torch.bool)
        pool = order[torch.isin(order, self.test.index.group.unique())]
        targets[pool[1::2]] = True
        return targets


def _second_wins(y: Tensor) -> Tensor:
    """Bool[types pairs]: whether a type prefers the second item of each pair Float[pairs 2]."""
    return torch.stack([piecewise_reward(y, torch.tensor(kind)).diff(dim=1).squeeze(1) > 0 for kind in (0, 1)])


def _part(y: Tensor, start: int, stop: int, users: int, choices: int, generator: torch.Generator) -> PiecewisePart:
    pool = y[start:stop]
    if choices > len(pool):
        raise ConfigError(
            f"{choices} choices per user of a pool of {len(pool)} pairs; ask for fewer, or for more pairs"
        )
    kind = torch.arange(users) % 2
    second_wins = _second_wins(pool)
    pair = torch.stack([torch.randperm(len(pool), generator=generator)[:choices] for _ in range(users)])
    user = torch.arange(users).repeat_interleave(choices)
    flat = pair.reshape(-1)
    winner = second_wins[kind[user], flat].long()
    group = (start + flat).unsqueeze(1).expand(-1, 2)
    items = 2 * group + torch.stack([winner, 1 - winner], dim=1)
    index = ChoiceIndex.build(user, items, torch.tensor([0, 1]).expand_as(items), group, n_users=users)
    disagreement = (second_wins[0] != second_wins[1]).double().mean().item()
    return PiecewisePart(index, kind, disagreement)
