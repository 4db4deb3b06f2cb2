"""A context for each of many targets, as a function of (seed, epoch, target): however targets are batched."""

import torch
from torch import Tensor

from tacit.choices.index import ChoiceIndex
from tacit.episodes.hashing import hash_unit, mix

__all__ = ["draw_contexts"]


def draw_contexts(index: ChoiceIndex, rows: Tensor, max_context: int, *, seed: int, epoch: Tensor | int = 0) -> Tensor:
    """Context choices for target choices `rows` (Int64[targets]) of `index`: Int64[targets K] rows, -1 = none.

    They are the same user's, share no group with their target, and there are k of them, uniform on {0..max_context} (or
    as many as there are). Of a user with very many choices, a random run of 8 (max_context + 1) is looked at.

    Args:
        epoch: Int64[targets] or one number; another one draws another context.
    """
    user = index.user[rows]
    count = index.counts[user].unsqueeze(1)
    width = min(int(count.max()) if len(rows) else 0, 8 * (max_context + 1))
    salt = torch.as_tensor(epoch).expand(len(rows)) * 1_000_003 + mix(seed, 401) % (1 << 40)
    start = (hash_unit(rows, salt + 1) * count.squeeze(1)).long().unsqueeze(1)
    candidate = index.offsets[user].unsqueeze(1) + (start + torch.arange(width)) % count
    fits = torch.arange(width) < count
    for slot in range(index.group.shape[1]):
        shared = index.group[candidate] == index.group[rows][:, None, slot, None]
        fits &= ~shared.any(-1)
    priority = hash_unit(candidate * 2_000_003 + rows.unsqueeze(1), salt.unsqueeze(1) + 2).masked_fill(~fits, 2.0)
    value, place = priority.topk(min(max_context, width), dim=1, largest=False)
    k = (hash_unit(rows, salt + 3) * (max_context + 1)).long().unsqueeze(1)
    kept = (value < 2.0) & (torch.arange(place.shape[1]) < k)
    return torch.where(kept, candidate.gather(1, place), -1)
