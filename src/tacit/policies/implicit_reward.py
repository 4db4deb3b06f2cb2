"""Implicit-reward accuracy: how often a steered policy raises the chosen response more than the rejected one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from tacit.choices.index import ChoiceIndex
from tacit.engines.transformers.engine import TransformersEngine
from tacit.errors import ConfigError
from tacit.evaluation.episodes import EvaluationEpisodes, evaluation_episodes
from tacit.objectives.dpo import distilled_loss
from tacit.policies.latents import choice_evidence, context_latents
from tacit.policies.pairs import Row
from tacit.policies.steered_pairs import TunedEncoder
from tacit.policies.teacher import Rewards
from tacit.policies.training_config import PolicyTrainingConfig
from tacit.rewards.model import RewardModel

__all__ = ["ImplicitChoices", "direction", "implicit_choices", "policy_validation"]

KS = (0, 1, 5, 10)
_MOST = 1024  # choices that validation infers z from
_PAIRS = 4  # of each validation user


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
    engine: TransformersEngine,
    reward: RewardModel,
    episodes: EvaluationEpisodes,
    evidence: Tensor,
    rows: Sequence[Row | None],
    reference: Tensor,
    ks: Sequence[int],
    *,
    shuffled: bool = False,
    told: Tensor | None = None,
) -> ImplicitChoices:
    """Ask an engine's policy about the episodes' targets, with the first k context choices of each user.

    Args:
        reward: infers z.
        evidence, rows, reference: by choice of the episodes' index, and by item, as in `PolicyPairs`.
        told: Float[users latent], z of the episodes' users where it is not inferred.
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
        z = context_latents(reward, episodes.index, evidence, context[:, :k]) if told is None else told
        found = torch.zeros(users * 2 * width)
        found[asked] = _ratios(engine, items.flatten()[asked], z[asked // (2 * width)], rows, reference)
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


def _ratios(
    engine: TransformersEngine, items: Tensor, z: Tensor, rows: Sequence[Row | None], reference: Tensor
) -> Tensor:
    """Log-ratio to the base of each item's response under its z: Float32[items]."""
    chosen = [row for row in (rows[item] for item in items.tolist()) if row is not None]
    return engine.row_log_probs(chosen, z) - reference[items]


def policy_validation(
    engine: TransformersEngine,
    tuned: TunedEncoder | None,
    validation: ChoiceIndex,
    vectors: Tensor,
    rows: Sequence[Row | None],
    reference: Tensor,
    target_groups: Tensor | None,
    training: PolicyTrainingConfig,
    *,
    told: Tensor | None = None,
    taught: Rewards | None = None,
) -> Callable[[], dict[str, float]]:
    """Loss and accuracy on users and groups that are not trained on: by k, and by side of the main axis of users.

    The loss is of the choices made there or, under a teacher, of the gaps that the teacher sees between their answers,
    with z as in training: from everything that is known.
    """
    assert engine.policy is not None
    given = engine.policy.reward
    some = validation.user.unique()[: training.eval_users]
    index = validation.of_users(some)
    most = min(int(index.counts.max()), _MOST) if taught is not None and len(index.counts) else 0
    episodes = evaluation_episodes(
        index, max_k=max(*KS, most), max_targets=_PAIRS, target_groups=target_groups, seed=training.seed
    )
    evidence = choice_evidence(given, index, vectors)
    told = None if told is None else told[some][episodes.users]

    def ask(ks: Sequence[int], z: Tensor | None) -> ImplicitChoices:
        reward, read = given, evidence
        if tuned is not None:
            reward = tuned.model()
            read = choice_evidence(reward, index, vectors)
        return implicit_choices(engine, reward, episodes, read, rows, reference, ks, told=z)

    def distance(taught: Rewards) -> Tensor:
        """From the teacher's gaps: Float64[1 users]."""
        z = context_latents(given, index, evidence, episodes.context) if told is None else told
        items = episodes.targets.clamp(min=0)
        values = taught(some[episodes.users], items.flatten(1), z).view(items.shape)
        return ask((0,), z).distance(training.beta, (values[..., 0] - values[..., 1]).unsqueeze(0))

    def validate() -> dict[str, float]:
        found = ask(KS, told)
        accuracy = found.accuracy()
        side = direction(found.z[-1]) if len(found.z[-1]) > 1 else torch.ones(len(found.z[-1]), dtype=torch.bool)
        loss = found.loss(training.beta)[found.has] if taught is None else distance(taught)
        numbers = {"loss": float(loss.mean()), "accuracy": float(accuracy.nanmean())}  # a NaN of the policy's must show
        for place, k in enumerate(KS):
            numbers[f"accuracy_k{k}"] = float(accuracy[place].nanmean())
        for name, users in (("one", side), ("other", ~side)):
            numbers[f"accuracy_{name}_side"] = float(accuracy[-1, users].nanmean())
        if not np.isfinite(numbers["loss"]):
            raise ConfigError(f"the policy's validation loss is {numbers['loss']}; lower learning_rate")
        return {name: value for name, value in numbers.items() if np.isfinite(value)}

    return validate
