"""Whether an unfinished run may be gone on with: a hash of everything that its trajectory depends on."""

import hashlib
import json
from collections.abc import Sequence

import torch
from torch import Tensor

from tacit.choices.index import ChoiceIndex
from tacit.policies.pairs import PolicyPairs, Row
from tacit.policies.teacher import Rewards
from tacit.policies.training_config import PolicyTrainingConfig
from tacit.steering.policy import SteerablePolicy

__all__ = ["lesson", "run_fingerprint", "validation_lesson"]


def lesson(pairs: PolicyPairs) -> tuple[Tensor, ...]:
    """What the teacher says of some pairs, to tell one teacher from another; coarse, since last digits may differ."""
    if pairs.teacher is None:
        return ()
    some = torch.arange(min(256, len(pairs)))
    users, items = pairs.index.user[pairs.choice[some]], pairs.pairs[some, 0]
    best_and_worst, gap = pairs.teacher.pairs(users, items, pairs.latents(some, 0), some)
    return best_and_worst, gap.mul(100).round()


def validation_lesson(validation: ChoiceIndex, taught: Rewards, z: Tensor) -> Tensor:
    """What the teacher of validation says of some answers there, as coarsely; z Float[users latent]."""
    users, items = validation.user[:256], validation.items[:256].clamp(min=0)
    return taught(users, items, z[users]).mul(100).round()


def run_fingerprint(
    policy: SteerablePolicy,
    training: PolicyTrainingConfig,
    indices: Sequence[ChoiceIndex],
    rows: Sequence[Row | None],
    tensors: Sequence[Tensor | None],
) -> str:
    """Of everything that the trajectory, and what is best on it, depends on."""
    digest = hashlib.blake2b(digest_size=8)
    reward = policy.reward
    said = [policy.base.fingerprint, reward.fingerprint, reward.half_life, policy.config.model_dump_json(), rows]
    tensors = [*tensors, *(value.flatten() for value in reward.network.state_dict().values())]
    digest.update(json.dumps([*said, training.model_dump_json(exclude={"report_to"})]).encode())
    columns = [
        column
        for index in indices
        for column in (index.user, index.items, index.rank, index.weight, index.group, index.timestamp)
    ]
    for part in (*columns, *tensors):
        digest.update(b"" if part is None else part.contiguous().cpu().numpy().data)
    return digest.hexdigest()
