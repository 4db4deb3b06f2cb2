"""Only what the base could write too: a limit on a steered policy's next token."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tacit.engines.transformers.forward_patch import unsteered

__all__ = ["WithinBase"]


class WithinBase:
    """A logits processor: minus infinity for tokens that the unsteered base would not draw from either.

    Where the two have no token in common, the base writes the next one. The base reads along with a cache of its own.

    Args:
        model: the base, whatever steers it.
        mask: Int64[rows tokens] of the prompts, 0 on padding.
        warp: temperature and nucleus, as the policy's own logits went through them: (ids, logits) to logits.
    """

    def __init__(self, model: Any, mask: Tensor, warp: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.model, self.warp = model, warp
        self._mask, self._cache, self._read = mask, None, 0
        self._takes = inspect.signature(model.forward).parameters

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Of the policy's next token, Float[rows vocabulary], after all that is written, Int64[rows tokens]."""
        plain = self.warp(input_ids, self._next(input_ids).to(scores.device, scores.dtype))
        both = scores.masked_fill(plain.isneginf(), -torch.inf)
        return torch.where(both.isneginf().all(1, keepdim=True), plain, both)

    def _next(self, input_ids: Tensor) -> Tensor:
        """The base's logits, Float[rows vocabulary], from the tokens that it has not read yet."""
        new = self._mask.new_ones(len(input_ids), input_ids.shape[1] - self._mask.shape[1])
        self._mask = torch.cat([self._mask, new], 1)
        given: dict[str, Any] = {"attention_mask": self._mask, "past_key_values": self._cache, "use_cache": True}
        if "position_ids" in self._takes:
            given["position_ids"] = (self._mask.cumsum(1) - 1).clamp(min=0)[:, self._read :]
        if "logits_to_keep" in self._takes:
            given["logits_to_keep"] = 1
        with unsteered():
            found = self.model(input_ids=input_ids[:, self._read :], **given)
        self._cache, self._read = found.past_key_values, input_ids.shape[1]
        return found.logits[:, -1]
