"""Evaluation episodes: per user one fixed target set and nested contexts, disjoint by group across all users.

A group is on the context side or on the target side for everybody, so that neither a user's own context nor
the context of another user (the shuffled-user control) ever touches a target group. Everything is decided by
hashes of (seed, id): a user's episode does not depend on who else is evaluated.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from tacit.choices import ChoiceIndex
from tacit.episodes import ChoiceBatch, hash_unit, mix
from tacit.errors import ChoiceError, ConfigError

__all__ = ["EvaluationEpisodes", "ItemVectors", "TargetGroups", "TargetPairs", "evaluation_episodes", "target_side"]

TargetGroups = Tensor | Callable[[Tensor], Tensor]
"""Which groups are targets: Bool[groups], or a function from Int64[...] group ids to Bool[...]."""

_SIDE, _CONTEXT, _TARGET, _ORDER = range(101, 105)  # independent streams of one seed


class ItemVectors(Protocol):
    """A tensor Float[items dim], or a store that answers like one."""

    def __getitem__(self, ids: Tensor, /) -> Tensor:
        """Float[ids dim] for Int64[ids]."""
        ...


@dataclass(frozen=True)
class TargetPairs:
    """Strict pairs as a model is asked about them, the chosen item first or second by a fixed coin.

    Shapes:
        a, b: Float[users targets dim], the items in the order asked.
        chosen_first: Bool[users targets], whether `a` is the chosen one.
        real: Bool[users targets], False on padding.
    """

    a: Tensor
    b: Tensor
    chosen_first: Tensor
    real: Tensor

    def of_users(self, rows: Tensor) -> "TargetPairs":
        """The rows of some users (Int64[chosen])."""
        return TargetPairs(self.a[rows], self.b[rows], self.chosen_first[rows], self.real[rows])


@dataclass(frozen=True)
class EvaluationEpisodes:
    """What each evaluated user is asked, and the choices the user may bring.

    Shapes:
        index: the choices it was drawn from.
        users: Int64[users], user numbers in `index`: everybody with at least one strict target pair.
        context: Int64[users max_k], rows of `index` in a fixed order; k takes the first k; -1 = padding.
        n_context: Int64[users], context-side choices of each user, which may exceed max_k.
        targets: Int64[users targets 2], item ids (chosen, rejected); padding holds 0.
        n_targets: Int64[users], from 1 to `max_targets`.
        chosen_first: Bool[users targets], the order in which a model is asked.
        crossing: choices dropped because their groups stand on both sides.
        ties: equal-rank pairs among the target choices; they have no right answer and are left out.
        without_target: users with choices but no strict target pair; they are left out.
    """

    index: ChoiceIndex
    users: Tensor
    context: Tensor
    n_context: Tensor
    targets: Tensor
    n_targets: Tensor
    chosen_first: Tensor
    crossing: int
    ties: int
    without_target: int

    @property
    def real(self) -> Tensor:
        """Bool[users targets]: False on padding."""
        return torch.arange(self.targets.shape[1]) < self.n_targets.unsqueeze(1)

    def context_batch(self, rows: Tensor, k: int, vectors: ItemVectors) -> ChoiceBatch:
        """The first `k` context choices of some users (Int64[chosen], positions in `users`); weight 0 pads."""
        index, chosen = self.index, self.context[rows, :k]
        real, chosen = chosen >= 0, chosen.clamp(min=0)
        time = index.timestamp[chosen]
        return ChoiceBatch(
            _gather(vectors, index.items[chosen]),
            index.rank[chosen],
            index.weight[chosen] * real,
            None if index.timestamp.isnan().all() else time,
        )

    def target_pairs(self, rows: Tensor, vectors: ItemVectors) -> TargetPairs:
        """The target pairs of some users (Int64[chosen], positions in `users`), trimmed to the longest of them."""
        width = int(self.n_targets[rows].max()) if len(rows) else 0
        ids, first = self.targets[rows, :width], self.chosen_first[rows, :width]
        asked = torch.where(first.unsqueeze(-1), ids, ids.flip(-1))
        pair = _gather(vectors, asked)
        return TargetPairs(pair[..., 0, :], pair[..., 1, :], first, self.real[rows, :width])


def evaluation_episodes(
    index: ChoiceIndex,
    *,
    max_k: int,
    max_targets: int = 50,
    target_fraction: float = 0.5,
    target_groups: TargetGroups | None = None,
    seed: int = 0,
) -> EvaluationEpisodes:
    """Divide the groups once for all users, then fix every user's targets and the order of the context.

    A target choice with more than two slots counts as all its strictly ordered pairs; `max_targets` caps the
    pairs of a user (a fixed random subset). Choice weights apply to the context only.

    Args:
        index: the choices of the users to evaluate.
        max_k: length of the longest context.
        max_targets: pairs asked of one user, at most.
        target_fraction: chance that a group is a target group; unused with `target_groups`.
        target_groups: an explicit division (Bool[groups] or a function of group ids), e.g. unseen statements.
        seed: one number that fixes sides, target sets, context order and the order asked.

    Raises:
        ConfigError: a size or fraction out of range, or `target_groups` that do not cover the groups.
        ChoiceError: no user has a strict target pair.
    """
    if max_k < 0 or max_targets < 1 or not 0 < target_fraction < 1:
        raise ConfigError(
            "expected max_k >= 0, max_targets >= 1 and 0 < target_fraction < 1; "
            f"found {max_k}, {max_targets}, {target_fraction}"
        )
    side = target_side(index.group, target_groups, target_fraction, seed)
    on_target, on_context = side.all(dim=1), ~side.any(dim=1)
    crossing = int((~(on_target | on_context)).sum())

    rows = on_context.nonzero().squeeze(1)
    context = _first_per_user(index, rows, hash_unit(index.row[rows], mix(seed, _CONTEXT)), max_k, fill=-1)
    n_context = torch.bincount(index.user[rows], minlength=index.n_users)

    rows, pairs, pair_id, ties = _strict_pairs(index, on_target.nonzero().squeeze(1))
    place = _first_per_user(index, rows, hash_unit(pair_id, mix(seed, _TARGET)), max_targets, fill=-1, positions=True)
    n_targets = (place >= 0).sum(1)
    users = (n_targets > 0).nonzero().squeeze(1)
    if not len(users):
        raise ChoiceError(
            f"no user has a target: of {len(index)} choices {crossing} cross the sides and {int(on_target.sum())} are "
            f"on the target side, with {ties} tied pairs; give strict choices over more groups, or another division"
        )
    place = place[users]
    real, place = place >= 0, place.clamp(min=0)
    first = hash_unit(pair_id, mix(seed, _ORDER))[place] < 0.5
    return EvaluationEpisodes(
        index=index,
        users=users,
        context=context[users],
        n_context=n_context[users],
        targets=pairs[place] * real.unsqueeze(-1),
        n_targets=n_targets[users],
        chosen_first=first & real,
        crossing=crossing,
        ties=ties,
        without_target=int((index.counts > 0).sum()) - len(users),
    )


def target_side(group: Tensor, target_groups: TargetGroups | None, fraction: float, seed: int) -> Tensor:
    """Bool, shaped like `group`: whether each group is a target group, the same for every user."""
    if target_groups is None:
        return hash_unit(group, mix(seed, _SIDE)) < fraction
    if isinstance(target_groups, Tensor):
        largest = int(group.max()) if group.numel() else -1
        if target_groups.dtype != torch.bool or target_groups.ndim != 1 or len(target_groups) <= largest:
            raise ConfigError(
                f"target_groups: expected Bool[groups] with at least {largest + 1} groups, found "
                f"{target_groups.dtype} {tuple(target_groups.shape)}"
            )
        return target_groups[group]
    side = target_groups(group)
    if side.dtype != torch.bool or side.shape != group.shape:
        raise ConfigError(
            f"target_groups returned {side.dtype} {tuple(side.shape)} for groups {tuple(group.shape)}; "
            "expected a boolean of the same shape"
        )
    return side


def _strict_pairs(index: ChoiceIndex, rows: Tensor) -> tuple[Tensor, Tensor, Tensor, int]:
    """Strictly ordered slot pairs of some choices.

    Returns Int64[pairs] row of the index, Int64[pairs 2] item ids (chosen, rejected), Int64[pairs] stable pair ids,
    and how many pairs were tied.
    """
    left, right = torch.combinations(torch.arange(index.items.shape[1]), 2).unbind(1)
    rank_l, rank_r = index.rank[rows][:, left], index.rank[rows][:, right]
    present = (rank_l >= 0) & (rank_r >= 0)
    choice, combination = (present & (rank_l != rank_r)).nonzero().unbind(1)
    items = index.items[rows[choice]]
    item_l = items.gather(1, left[combination, None]).squeeze(1)
    item_r = items.gather(1, right[combination, None]).squeeze(1)
    left_wins = rank_l[choice, combination] < rank_r[choice, combination]
    pairs = torch.stack([torch.where(left_wins, item_l, item_r), torch.where(left_wins, item_r, item_l)], dim=1)
    pair_id = index.row[rows[choice]] * max(1, len(left)) + combination
    return rows[choice], pairs, pair_id, int((present & (rank_l == rank_r)).sum())


def _first_per_user(
    index: ChoiceIndex, rows: Tensor, key: Tensor, limit: int, *, fill: int, positions: bool = False
) -> Tensor:
    """Int64[all users, width <= limit]: of each user the rows with the smallest keys (or their positions in `rows`)."""
    order = torch.argsort(key, stable=True)
    order = order[torch.argsort(index.user[rows][order], stable=True)]
    user = index.user[rows][order]
    count = torch.bincount(user, minlength=index.n_users)
    place = torch.arange(len(order)) - (count.cumsum(0) - count)[user]
    width = min(limit, int(count.max())) if len(count) else 0
    table = torch.full((index.n_users, width), fill)
    kept = place < width
    table[user[kept], place[kept]] = (order if positions else rows[order])[kept]
    return table


def _gather(vectors: ItemVectors, ids: Tensor) -> Tensor:
    """Float32[... dim] for Int64[...] ids, one flat look-up."""
    found = vectors[ids.reshape(-1)].float()
    return found.view(*ids.shape, found.shape[-1])
