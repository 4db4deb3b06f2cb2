"""How likely a model finds responses."""

from functools import lru_cache
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tacit.engines.transformers.dialogue import Tokens

__all__ = ["NOTHING", "response_log_probs", "response_logits", "summed_log_probs"]

NOTHING = -100
"""In place of a token, where the next one belongs to no response."""

_EXTRA = {"position_ids", "logits_to_keep"}


def response_log_probs(model: Any, tokens: Tokens) -> Tensor:
    """Sum over response tokens of log p(token | all before it): Float32[rows], in nats.

    Every response token counts, the first (predicted from the prompt's last) and the end alike.
    """
    return summed_log_probs(*response_logits(model, tokens))


def summed_log_probs(logits: Tensor, wanted: Tensor) -> Tensor:
    """The same from what `response_logits` gives."""
    losses = functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=NOTHING, reduction="none")
    return -losses.view_as(wanted).sum(1)


def response_logits(model: Any, tokens: Tokens) -> tuple[Tensor, Tensor]:
    """What the model says at the last places of every row, as many as the longest response needs and one after its end.

    The logits are the model's own tensor, neither cut nor picked from: each copy would take as much memory again, and
    its gradient too. What is no response is to be left out of the sums.

    Returns:
        logits: Float32[rows places vocabulary].
        wanted: Int64[rows places], the response token that is next at each place, or `NOTHING`.
    """
    ids, mask, response = tokens.ids, tokens.mask, tokens.response
    width = int(response.max())
    known = _arguments(type(model))
    extra = {"position_ids": (mask.cumsum(1) - 1).clamp(min=0), "logits_to_keep": width + 1}
    output = model(
        input_ids=ids, attention_mask=mask, use_cache=False, **{k: v for k, v in extra.items() if k in known}
    )
    other = torch.arange(width, device=ids.device) < width - response.unsqueeze(1)
    wanted = functional.pad(ids[:, -width:].masked_fill(other, NOTHING), (0, 1), value=NOTHING)
    logits = output.logits
    return logits[:, logits.shape[1] - width - 1 :].float(), wanted  # from 0, it is the same tensor


@lru_cache
def _arguments(model: type) -> frozenset[str]:
    """Those of our extra arguments that a model's forward takes, by name or (a wrapper's) by anything it is given."""
    taken = signature(model.forward).parameters
    anything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values())
    return frozenset(_EXTRA if anything else _EXTRA & set(taken))
