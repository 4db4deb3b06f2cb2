"""NP-DPO as one module: a batch of pairs in, the loss and what it is made of out."""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from tacit.engines.transformers.dialogue import Tokens
from tacit.engines.transformers.log_probs import NOTHING, response_logits, summed_log_probs
from tacit.objectives.dpo import distilled_loss, preference_loss
from tacit.policies.length_buckets import length_groups
from tacit.policies.policy import SteerablePolicy
from tacit.policies.training_config import PolicyTrainingConfig
from tacit.policies.tuned_encoder import TunedEncoder

__all__ = ["SteeredPairs"]


class SteeredPairs(nn.Module):
    """loss = mean over pairs of the loss of (log-ratio of the preferred - log-ratio of the rejected | z), + anchors.

    The base runs in evaluation mode throughout: its dropout would blur the ratio to a reference computed without any.
    """

    def __init__(
        self, policy: SteerablePolicy, config: PolicyTrainingConfig, tuned: TunedEncoder | None = None
    ) -> None:
        super().__init__()
        self.modulator, self.base, self.tuned = policy.modulator, policy.base.model, tuned
        self.policy, self.config_ = policy, config

    @property
    def learnt(self) -> nn.Module:
        """What training changes."""
        return self.modulator if self.tuned is None else nn.ModuleList([self.modulator, self.tuned])

    def train(self, mode: bool = True) -> "SteeredPairs":
        """Training mode for the modulator, and for blocks only as far as checkpointing asks for it."""
        self.training = mode
        self.modulator.train(mode)
        self.base.eval()
        if self.config_.activation_checkpointing:
            blocks: list[Any] = [part for part in self.base.modules() if isinstance(part, GradientCheckpointingLayer)]
            for block in blocks:
                block.gradient_checkpointing = block.training = mode
                block._gradient_checkpointing_func = partial(_evaluated, block, use_reentrant=False)
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
        log_prob, apart = self._log_probs(Tokens(ids, mask, response), z)
        ratio = log_prob - reference
        margin = ratio[:, 0] - ratio[:, 1]
        if gap is None:
            loss = preference_loss(margin, kind=settings.loss_type, beta=settings.beta, noise=settings.noise, tie=tie)
        else:
            loss = distilled_loss(margin, gap, beta=settings.beta)
        if settings.sft_weight:
            loss = loss - settings.sft_weight * settings.beta * log_prob[:, 0]
        if apart is not None:
            loss = loss + settings.kl_weight * (apart.mean(1) - settings.max_kl).clamp(min=0)
        return {"loss": (loss * weight).mean(), "margin": margin.detach()}

    def _log_probs(self, tokens: Tokens, z: Tensor) -> tuple[Tensor, Tensor | None]:
        """Of each pair's responses, Float[pairs 2], and with an anchor KL(policy || base) per token, likewise.

        The two responses of a pair may differ much in length. Rows are independent until their margin is taken, so
        they run in groups of like length, each padded to its own longest.
        """
        parts: list[tuple[Tensor, Tensor | None]] = []
        groups = length_groups(tokens.mask.sum(1).tolist())
        z = self.policy.latents(z)
        for group in groups:
            rows = torch.tensor(group, device=tokens.ids.device)
            some = tokens.of_rows(rows)
            with self.policy.steering.steer(z[rows // 2]):
                logits, wanted = response_logits(self.base, some)
            found = summed_log_probs(logits, wanted)
            parts.append((found, self._apart(logits, wanted, some) if self.config_.kl_weight else None))
        order = torch.tensor([row for group in groups for row in group], device=tokens.ids.device).argsort()
        log_prob = torch.cat([found for found, _ in parts])[order].view(-1, 2)
        known = [apart for _, apart in parts if apart is not None]
        return log_prob, torch.cat(known)[order].view(-1, 2) if known else None

    def _apart(self, logits: Tensor, wanted: Tensor, tokens: Tokens) -> Tensor:
        """KL(policy || base) in nats per response token: Float[rows]; dear where the base would write no such thing."""
        with torch.no_grad(), self.policy.steered(None):
            plain, _ = response_logits(self.base, tokens)
        each = functional.kl_div(plain.log_softmax(-1), logits.log_softmax(-1), reduction="none", log_target=True)
        return each.sum(-1).masked_fill(wanted == NOTHING, 0).sum(1) / tokens.response


def _evaluated(block: nn.Module, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """A checkpoint of a block that is in training mode only so that it is checkpointed: some drop out by that alone."""

    def run(*inner: Any) -> Any:
        block.training = False
        try:
            return function(*inner)
        finally:
            block.training = True

    return checkpoint(run, *args, **options)
