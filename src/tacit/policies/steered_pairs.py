"""NP-DPO as one module: a batch of pairs in, the loss and what it is made of out."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from tacit.engines.transformers.dialogue import Tokens
from tacit.engines.transformers.engine import TransformersEngine
from tacit.engines.transformers.log_probs import response_log_probs
from tacit.episodes.batch import ChoiceBatch
from tacit.errors import ConfigError
from tacit.objectives.dpo import distilled_loss, preference_loss
from tacit.policies.training_config import PolicyTrainingConfig
from tacit.rewards.model import RewardModel

__all__ = ["SteeredPairs", "TunedEncoder", "checkpointed", "length_groups"]

OVERHEAD = 64
"""What one more forward costs, in tokens."""


class TunedEncoder(nn.Module):
    """A copy of a reward model's encoder that has gradients; z is its posterior mean.

    Where the encoder reads the head's own reward, the head moves with it. What comes out is another reward model, whose
    states are not those of the one that it was: it is saved within the policy, and users are inferred by it anew.
    """

    def __init__(self, reward: RewardModel) -> None:
        super().__init__()
        if reward.half_life is not None or not reward.network.encoder.latent:
            raise ConfigError(
                "encoder_learning_rate needs an encoder that reads choices, and none that lets them fade; set it to 0"
            )
        self._reward, self.network = reward, deepcopy(reward.network).eval()
        with torch.device("meta"):  # what training of the reward keeps fixed stays so, and nothing else has a part in z
            fresh = reward.network_class(reward.dim, reward.network.config).encoder
        wanted = {name for name, parameter in fresh.named_parameters() if parameter.requires_grad}
        self.network.requires_grad_(False)
        for name, parameter in self.network.encoder.named_parameters():
            parameter.requires_grad_(name in wanted)

    def train(self, mode: bool = True) -> "TunedEncoder":
        """Dropout stays off, as where z is fixed."""
        return super().train(False)

    def forward(self, vectors: Tensor, rank: Tensor, weight: Tensor) -> Tensor:
        """Float[users latent] of contexts as `ChoiceBatch` has them, in raw item vectors."""
        choices = ChoiceBatch(self.network.standardizer(vectors), rank, weight)
        return self.network.posterior(choices).mean

    def model(self) -> RewardModel:
        """The reward model at this moment; its temperature is still that of the one that it was."""
        network = deepcopy(self.network).cpu().requires_grad_(False)
        notes = {name: value for name, value in self._reward.notes.items() if not name.startswith("validation_")}
        return replace(self._reward, network=network, notes=notes | {"trained_along_with_a_policy": True})


class SteeredPairs(nn.Module):
    """loss = mean over pairs of the loss of (log-ratio of the preferred - log-ratio of the rejected | z) + SFT term.

    The base runs in evaluation mode throughout: its dropout would blur the ratio to a reference computed without any.

    Args:
        engine: over the policy that is trained.
        tuned: trained along, if given.
    """

    def __init__(
        self, engine: TransformersEngine, config: PolicyTrainingConfig, tuned: TunedEncoder | None = None
    ) -> None:
        super().__init__()
        assert engine.policy is not None
        assert engine.steering is not None
        self.modulator, self.base, self.tuned = engine.steering.modulator, engine.base.model, tuned
        self.policy, self.steering, self.config_ = engine.policy, engine.steering, config

    @property
    def learnt(self) -> nn.Module:
        """What training changes."""
        return self.modulator if self.tuned is None else nn.ModuleList([self.modulator, self.tuned])

    def train(self, mode: bool = True) -> "SteeredPairs":
        """Training mode for the modulator, and for blocks only as far as `checkpointed` asks for it."""
        self.training = mode
        self.modulator.train(mode)
        self.base.eval()
        for block in _blocks(self.base) if self.config_.activation_checkpointing else ():
            block.gradient_checkpointing = block.training = mode
        return self

    def forward(
        self,
        ids: Tensor,
        mask: Tensor,
        response: Tensor,
        reference: Tensor,
        weight: Tensor,
        tie: Tensor,
        z: Tensor | None = None,
        gap: Tensor | None = None,
        context: Tensor | None = None,
        rank: Tensor | None = None,
        context_weight: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The batch's numbers, as `PolicyPairs.collate` lays it out: rows in pairs, the preferred first.

        Returns:
            loss: scalar. margin: Float[pairs], log-ratio of the preferred less that of the rejected, in nats.
        """
        settings = self.config_
        if self.tuned is not None:
            z = cast("Tensor", self.tuned(context, rank, context_weight))
        assert z is not None
        log_prob = self._log_probs(Tokens(ids, mask, response), z)
        ratio = log_prob - reference
        margin = ratio[:, 0] - ratio[:, 1]
        if gap is None:
            loss = preference_loss(margin, beta=settings.beta, tie=tie)
        else:
            loss = distilled_loss(margin, gap, beta=settings.beta)
        if settings.sft_weight:
            loss = loss - settings.sft_weight * settings.beta * log_prob[:, 0]
        return {"loss": (loss * weight).mean(), "margin": margin.detach()}

    def _log_probs(self, tokens: Tokens, z: Tensor) -> Tensor:
        """Of each pair's responses: Float[pairs 2].

        The two responses of a pair may differ much in length. Rows are independent until their margin is taken, so
        they run in groups of like length, each padded to its own longest.
        """
        parts = []
        groups = length_groups(tokens.mask.sum(1).tolist())
        z = self.policy.latents(z).to(tokens.ids.device)
        for group in groups:
            rows = torch.tensor(group, device=tokens.ids.device)
            with self.steering.steer(z[rows // 2]):
                parts.append(response_log_probs(self.base, tokens.of_rows(rows)))
        order = torch.tensor([row for group in groups for row in group], device=tokens.ids.device).argsort()
        return torch.cat(parts)[order].view(-1, 2)


@contextmanager
def checkpointed(model: Any) -> Iterator[None]:
    """Within the block a base's blocks checkpoint their activations while in training mode; they are put back after it.

    A block is in training mode only so that it is checkpointed; inside, it is evaluated: some drop out by that alone.
    """
    names = ("gradient_checkpointing", "training", "_gradient_checkpointing_func")
    before = [(block, {name: vars(block)[name] for name in names if name in vars(block)}) for block in _blocks(model)]
    for block, _ in before:
        block._gradient_checkpointing_func = partial(_evaluated, block, use_reentrant=False)
    try:
        yield
    finally:
        for block, values in before:
            for name in names:
                vars(block).pop(name, None)
            vars(block).update(values)


def length_groups(lengths: Sequence[int], overhead: int = OVERHEAD) -> list[list[int]]:
    """The division of rows into groups that costs least: sum over groups of rows x longest + overhead.

    Exact, by dynamic programming over rows in order of length: some best division cuts that order into runs.

    Returns:
        row numbers of each group, short rows first.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    best, cut = [0], [0]
    for end in range(1, len(order) + 1):
        longest = lengths[order[end - 1]]
        cost, start = min((best[start] + (end - start) * longest + overhead, start) for start in range(end))
        best.append(cost)
        cut.append(start)
    groups, end = [], len(order)
    while end:
        groups.append(order[cut[end] : end])
        end = cut[end]
    return groups[::-1]


def _evaluated(block: nn.Module, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    def run(*inner: Any) -> Any:
        block.training = False
        try:
            return function(*inner)
        finally:
            block.training = True

    return checkpoint(run, *args, **options)


def _blocks(model: Any) -> list[Any]:
    return [part for part in model.modules() if isinstance(part, GradientCheckpointingLayer)]
