"""How likely a model finds responses."""

from functools import lru_cache
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tacit.policies.dialogue import Tokens

__all__ = ["response_log_probs", "response_logits", "row_sums"]

_EXTRA = {"position_ids", "logits_to_keep"}


def response_log_probs(model: Any, tokens: Tokens) -> Tensor:
    """Sum over response tokens of log p(token | all before it): Float32[rows], in nats.

    Every response token counts, the first (predicted from the prompt's last) and the end alike.
    """
    logits, wanted, row = response_logits(model, tokens)
    return row_sums(-functional.cross_entropy(logits, wanted, reduction="none"), row, len(tokens.ids))


def response_logits(model: Any, tokens: Tokens) -> tuple[Tensor, Tensor, Tensor]:
    """What the model says where a response token is next: Float32[response tokens, vocabulary], of all rows together.

    Also the tokens that do come next and the row of each, Int64[response tokens] both. Rows end together, so the head
    runs only on the last columns, as many as the longest response has, and the one before.
    """
    ids, mask, response = tokens.ids, tokens.mask, tokens.response
    width = int(response.max())
    known = _arguments(type(model))
    extra = {"position_ids": (mask.cumsum(1) - 1).clamp(min=0), "logits_to_keep": width + 1}
    output = model(
        input_ids=ids, attention_mask=mask, use_cache=False, **{k: v for k, v in extra.items() if k in known}
    )
    logits, wanted = output.logits[:, -width - 1 : -1], ids[:, -width:]
    real = torch.arange(width, device=ids.device) >= width - response.unsqueeze(1)
    return logits[real].float(), wanted[real], real.nonzero()[:, 0]


def row_sums(values: Tensor, row: Tensor, rows: int) -> Tensor:
    """Sums of Float[values] by the row each belongs to, Float[rows]."""
    return torch.zeros(rows, dtype=values.dtype, device=values.device).index_add(0, row, values)


@lru_cache
def _arguments(model: type) -> frozenset[str]:
    """Those of our extra arguments that a model's forward takes, by name or (a wrapper's) by anything it is given."""
    taken = signature(model.forward).parameters
    anything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values())
    return frozenset(_EXTRA if anything else _EXTRA & set(taken))
