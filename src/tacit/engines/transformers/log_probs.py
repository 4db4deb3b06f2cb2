"""How likely a model finds responses."""

from functools import lru_cache
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tacit.engines.transformers.dialogue import Tokens

__all__ = ["response_log_probs"]

_NOTHING = -100  # in place of a token, where the next one belongs to no response
_EXTRA = {"position_ids", "logits_to_keep"}


def response_log_probs(model: Any, tokens: Tokens) -> Tensor:
    """Sum over response tokens of log p(token | all before it): Float32[rows], in nats.

    Every response token counts, the first (predicted from the prompt's last) and the end alike. The logits, of as many
    last places as the longest response needs and one after its end, stay the model's own tensor, neither cut nor picked
    from: each copy would take as much memory again, and its gradient too. What is no response is left out of the sums.
    """
    ids, mask, response = tokens.ids, tokens.mask, tokens.response
    width = int(response.max())
    known = _arguments(type(model))
    extra = {"position_ids": (mask.cumsum(1) - 1).clamp(min=0), "logits_to_keep": width + 1}
    output = model(
        input_ids=ids, attention_mask=mask, use_cache=False, **{k: v for k, v in extra.items() if k in known}
    )
    other = torch.arange(width, device=ids.device) < width - response.unsqueeze(1)
    wanted = functional.pad(ids[:, -width:].masked_fill(other, _NOTHING), (0, 1), value=_NOTHING)
    logits = output.logits
    logits = logits[:, logits.shape[1] - width - 1 :].float()  # from 0, it is the same tensor
    losses = functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=_NOTHING, reduction="none")
    return -losses.view_as(wanted).sum(1)


@lru_cache
def _arguments(model: type) -> frozenset[str]:
    """Those of our extra arguments that a model's forward takes, by name or (a wrapper's) by anything it is given."""
    taken = signature(model.forward).parameters
    anything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values())
    return frozenset(_EXTRA if anything else _EXTRA & set(taken))
