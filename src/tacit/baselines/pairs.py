"""Choices as weighted strict pairs: the one thing every published method takes."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tacit.choices.index import ChoiceIndex
from tacit.episodes.batch import ChoiceBatch
from tacit.episodes.episode import Episode

__all__ = ["Pairs", "TrainingPairs", "episode_pairs", "pairs_of", "training_pairs"]


@dataclass(frozen=True)
class Pairs:
    """Pairs of users as vectors: winner, loser Float[users pairs dim], weight Float[users pairs] (0 = padding).

    A tie is two opposed pairs of half the weight. A ranking is its Plackett-Luce stages, each stage (one item
    above the m below it) being m pairs of weight 1 / m.
    """

    winner: Tensor
    loser: Tensor
    weight: Tensor

    @property
    def difference(self) -> Tensor:
        """Winner less loser, Float[users pairs dim]."""
        return self.winner - self.loser


@dataclass(frozen=True)
class TrainingPairs:
    """The same for training, by number: user, winner, loser Int64[pairs] (items), weight Float32[pairs]."""

    user: Tensor
    winner: Tensor
    loser: Tensor
    weight: Tensor


def pairs_of(choices: ChoiceBatch) -> Pairs:
    """The pairs of a batch of choices."""
    first, second = _slots(choices.rank)
    weight = _weights(choices.rank, choices.weight, first, second).flatten(1)
    vectors = choices.vectors
    return Pairs(vectors[:, :, first].flatten(1, 2), vectors[:, :, second].flatten(1, 2), weight)


def episode_pairs(episode: Episode) -> Pairs:
    """The pairs of both sides of an episode: for methods that fit a row per training user on all the user's choices."""
    context, target = pairs_of(episode.context), pairs_of(episode.target)
    return Pairs(
        torch.cat([context.winner, target.winner], 1),
        torch.cat([context.loser, target.loser], 1),
        torch.cat([context.weight, target.weight], 1),
    )


def training_pairs(index: ChoiceIndex) -> TrainingPairs:
    """All pairs of an index, padding left out."""
    first, second = _slots(index.rank)
    weight = _weights(index.rank, index.weight, first, second)
    row, pair = (weight > 0).nonzero().unbind(1)
    return TrainingPairs(
        index.user[row], index.items[row, first[pair]], index.items[row, second[pair]], weight[row, pair]
    )


def _slots(rank: Tensor) -> tuple[Tensor, Tensor]:
    """Slot numbers of all pairs that some choice may need: both orders only where there are ties."""
    slots = rank.shape[-1]
    first, second = torch.triu_indices(slots, slots, offset=1, device=rank.device)  # slots come best first
    tied = (rank[..., first] == rank[..., second]) & (rank[..., first] >= 0)
    if bool(tied.any()):
        return torch.cat([first, second]), torch.cat([second, first])
    return first, second


def _weights(rank: Tensor, weight: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Float[... pairs] of rank Int64[... slots] and weight Float[...]."""
    a, b = rank[..., first], rank[..., second]
    real = (a >= 0) & (b >= 0)
    below = ((rank.unsqueeze(-1) < rank.unsqueeze(-2)) & (rank.unsqueeze(-1) >= 0)).sum(-1).clamp(min=1)
    strict = (a < b) / below[..., first]
    return weight.unsqueeze(-1) * torch.where(real, torch.where(a == b, 0.5, strict), 0.0).to(weight.dtype)
