"""Z of users from choices: each choice's evidence is worked out once, and any of them make a posterior."""

import torch
from torch import Tensor

from tacit.choices.index import ChoiceIndex
from tacit.episodes.batch import ChoiceBatch
from tacit.rewards.model import RewardModel

__all__ = ["choice_evidence", "context_latents", "user_latents"]

_CHOICES, _CONTEXTS = 4096, 65536  # choices looked at at a time


def choice_evidence(reward: RewardModel, index: ChoiceIndex, vectors: Tensor) -> Tensor:
    """What each choice tells of its user, Float64[choices evidence]: worked out once, since it depends on no other."""
    parts = []
    for rows in torch.arange(len(index)).split(_CHOICES):
        batch = ChoiceBatch(
            vectors[index.items[rows]].unsqueeze(1), index.rank[rows].unsqueeze(1), index.weight[rows].unsqueeze(1)
        )
        parts.append(reward.evidence(batch).squeeze(1))
    return torch.cat(parts) if parts else torch.zeros(0, reward.network.encoder.evidence_dim, dtype=torch.float64)


def context_latents(reward: RewardModel, index: ChoiceIndex, evidence: Tensor, contexts: Tensor) -> Tensor:
    """Posterior means Float32[users latent] of contexts Int64[users k], rows of `index` (-1 = none)."""
    chosen = contexts.clamp(min=0)
    weight = index.weight[chosen].double() * (contexts >= 0)
    time = None if reward.half_life is None else index.timestamp[chosen]
    state = reward.prior(len(contexts)).add(evidence[chosen], weight, time)
    return reward.posterior(state).mean.float()


def user_latents(reward: RewardModel, index: ChoiceIndex, evidence: Tensor) -> Tensor:
    """Posterior means Float32[users latent] of an index's users from all their choices."""
    order = index.counts.argsort(descending=True)  # users of like counts together, for little padding
    counts, offsets = index.counts[order], index.offsets[order]
    parts, done = [], 0
    while done < len(order):
        most = int(counts[done])
        some = slice(done, done + max(1, _CONTEXTS // max(1, most)))
        place = torch.arange(most)
        rows = torch.where(place < counts[some].unsqueeze(1), offsets[some].unsqueeze(1) + place, -1)
        parts.append(context_latents(reward, index, evidence, rows))
        done = some.stop
    return torch.cat(parts)[order.argsort()] if parts else torch.zeros(0, reward.network.encoder.latent)
