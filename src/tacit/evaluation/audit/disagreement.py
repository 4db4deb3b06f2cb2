"""How often people contradict each other on the very same pair, counted without any model.

A disagreement may be a difference of taste or a slip of the hand; one judgement per person and pair cannot tell the two
apart. The counts say how much there could be to personalise; the swap test of the audit says how much of it a model can
foresee.
"""

from dataclasses import dataclass

import torch

from tacit.choices import ChoiceIndex

__all__ = ["Disagreement", "repeated_pairs"]


@dataclass(frozen=True)
class Disagreement:
    """What pairs that several people judged say.

    Attributes:
        pairs: pairs of items judged by two or more people.
        judgements: strict judgements on those pairs, one per person and pair.
        losing: share of the judgements that stand against their pair's majority. 0 if all agreed without noise.
        losing_by_coin: what that share would be if every judgement were a coin, with as many judgements per pair.
        conflict: chance that two people who judged the same pair contradict each other; 0.5 for coins, whatever the
            number of judgements.
    """

    pairs: int
    judgements: int
    losing: float
    losing_by_coin: float
    conflict: float


def repeated_pairs(index: ChoiceIndex) -> Disagreement | None:
    """Count over all strict pairs of choices with two slots; None where no pair was judged by two people.

    Of a person's several judgements of one pair the first counts.
    """
    plain = (index.rank[:, 0] == 0) & (index.rank[:, 1] == 1) & (index.rank >= 0).sum(1).eq(2)
    items, user = index.items[plain, :2], index.user[plain]
    low, high = items.min(1).values, items.max(1).values
    pair = (low * (int(high.max()) + 1 if len(high) else 1) + high).unique(return_inverse=True)[1]
    _, judgement = (pair * index.n_users + user).unique(return_inverse=True)
    first = torch.full((int(judgement.max()) + 1 if len(judgement) else 0,), len(pair))
    first = first.scatter_reduce(0, judgement, torch.arange(len(pair)), "amin")
    n_pairs = int(pair.max()) + 1 if len(pair) else 0
    count = torch.bincount(pair[first], minlength=n_pairs).double()
    won = torch.bincount(pair[first], (items[first, 0] == low[first]).double(), minlength=n_pairs)
    repeated = count >= 2
    n, a = count[repeated], won[repeated]
    if not len(n):
        return None
    total = float(n.sum())
    return Disagreement(
        pairs=len(n),
        judgements=int(total),
        losing=float(torch.minimum(a, n - a).sum()) / total,
        losing_by_coin=float(_expected_minority(n).sum()) / total,
        conflict=float((2 * a * (n - a) / (n * (n - 1))).mean()),
    )


def _expected_minority(n: torch.Tensor) -> torch.Tensor:
    """E min(B, n - B) for B ~ Binomial(n, 1/2): n/2 - E|B - n/2|, whose mean deviation is closed (De Moivre)."""
    half = torch.floor(n / 2) + 1  # E|B - n/2| = m C(n, m) / 2^n with m = floor(n/2) + 1
    log_choose = torch.lgamma(n + 1) - torch.lgamma(half + 1) - torch.lgamma(n - half + 1)
    return n / 2 - half * torch.exp(log_choose - n * torch.log(torch.tensor(2.0, dtype=torch.float64)))
