"""Implicit-reward accuracy: how often a steered policy raises the chosen response more than the rejected one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from tacit.embedders.windows import token_budget_batches
from tacit.engines.transformers.dialogue import Dialogue
from tacit.engines.transformers.log_probs import response_log_probs
from tacit.evaluation.episodes import EvaluationEpisodes
from tacit.objectives.dpo import distilled_loss
from tacit.policies.pairs import Row, context_latents
from tacit.policies.policy import SteerablePolicy
from tacit.rewards.model import RewardModel

__all__ = ["ImplicitChoices", "direction", "implicit_choices"]


@dataclass(frozen=True)
class ImplicitChoices:
    """What a policy makes of the pairs of some users after k choices of theirs.

    Shapes:
        ks: numbers of context choices.
        margin: Float32[ks users pairs], log-ratio to the base of the chosen less that of the rejected, in nats.
        real: Bool[users pairs], False on padding.
        has: Bool[ks users], whether a user has k choices.
        z: Float32[ks users latent].
    """

    ks: tuple[int, ...]
    margin: Tensor
    real: Tensor
    has: Tensor
    z: Tensor

    def accuracy(self) -> Tensor:
        """Float64[ks users], a margin of zero counting half; NaN where a user has not k choices."""
        right = torch.heaviside(self.margin.double(), torch.tensor(0.5, dtype=torch.float64))
        return self._per_user(right)

    def loss(self, beta: float) -> Tensor:
        """-log sigmoid(beta margin), Float64[ks users], in nats; NaN likewise."""
        return self._per_user(-logsigmoid(beta * self.margin.double()))

    def distance(self, beta: float, gap: Tensor) -> Tensor:
        """Huber's loss between beta margin and gaps, Float[ks users pairs]: Float64[ks users]; NaN likewise."""
        return self._per_user(distilled_loss(self.margin.double(), gap.double(), beta=beta))

    def _per_user(self, values: Tensor) -> Tensor:
        mean = (values * self.real).sum(-1) / self.real.sum(-1)
        return torch.where(self.has, mean, torch.nan)


@torch.inference_mode()
def implicit_choices(
    policy: SteerablePolicy,
    episodes: EvaluationEpisodes,
    evidence: Tensor,
    rows: Sequence[Row | None],
    reference: Tensor,
    ks: Sequence[int],
    *,
    shuffled: bool = False,
    told: Tensor | None = None,
    reward: RewardModel | None = None,
) -> ImplicitChoices:
    """Ask a policy about the episodes' targets, with the first k context choices of each user.

    Args:
        evidence, rows, reference: by choice of the episodes' index, and by item, as in `PolicyPairs`.
        told: Float[users latent], z of the episodes' users where it is not inferred.
        reward: infers z in place of the policy's own reward model.
        shuffled: give every user the context of the next one instead, a control.
    """
    context = episodes.context.roll(1, 0) if shuffled else episodes.context
    available = episodes.n_context.roll(1) if shuffled else episodes.n_context
    users, width = episodes.targets.shape[:2]
    items = episodes.targets.reshape(users, -1)  # chosen, rejected, chosen, ...
    real = episodes.real
    asked = real.repeat_interleave(2, 1).flatten().nonzero().squeeze(1)
    margins, latents = [], []
    for k in ks:
        z = context_latents(reward or policy.reward, episodes.index, evidence, context[:, :k]) if told is None else told
        found = torch.zeros(users * 2 * width)
        found[asked] = _ratios(policy, items.flatten()[asked], z[asked // (2 * width)], rows, reference)
        pairs = found.view(users, width, 2)
        margins.append(pairs[..., 0] - pairs[..., 1])
        latents.append(z)
    has = torch.stack([available >= k for k in ks])
    return ImplicitChoices(tuple(ks), torch.stack(margins), real, has, torch.stack(latents))


def direction(z: Tensor) -> Tensor:
    """On which side of the main axis of variation each z lies: Bool[users] of Float[users latent].

    Whoever gains when a policy steers should be found on both sides.
    """
    centred = z - z.mean(0)
    axis = torch.linalg.svd(centred, full_matrices=False).Vh[0]
    axis = axis * axis[axis.abs().argmax()].sign()  # a singular vector's sign is the algorithm's whim
    return centred @ axis > 0


def _ratios(policy: SteerablePolicy, items: Tensor, z: Tensor, rows: Sequence[Row | None], reference: Tensor) -> Tensor:
    """Log-ratio to the base of each item's response under its z: Float32[items]."""
    chosen = [row for row in (rows[item] for item in items.tolist()) if row is not None]
    dialogue: Dialogue = policy.dialogue
    found = torch.zeros(len(items))
    budget = 4096 if policy.base.device.type == "cpu" else 32768
    for batch in token_budget_batches(np.array([len(ids) for ids, _ in chosen]), budget):
        place = torch.from_numpy(batch.copy())
        tokens = dialogue.batch([chosen[at] for at in batch]).to(policy.base.device)
        with policy.steered(z[place]) as model:
            found[place] = response_log_probs(model, tokens).float().cpu()
    return found - reference[items]
