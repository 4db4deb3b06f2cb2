"""The next token: which may be drawn, and the draw, as processors of logits for `transformers`' `generate`.

They are made for one request and hold the model no longer than that.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from tacit.engines.transformers.forward_patch import unsteered
from tacit.errors import ConfigError

__all__ = ["Draw", "Nucleus", "StopTexts", "WithinBase"]

_FIRST = 256  # nearly always enough; all of a vocabulary would take ten times as long to sort as to read


class Nucleus:
    """Minus infinity for all but the fewest tokens whose probability reaches `top_p`, the most likely ones.

    As `TopPLogitsWarper` of transformers, but that one sorts the whole vocabulary for every token, which takes longer
    than a small model's forward.

    Sources: Holtzman et al., 2020, arXiv 1904.09751.
    """

    def __init__(self, top_p: float) -> None:
        self.top_p = top_p

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Of logits, Float[rows vocabulary]."""
        likely, vocabulary = scores.softmax(-1), scores.shape[-1]
        kept = torch.zeros_like(scores, dtype=torch.bool)
        rows, count = torch.arange(len(scores), device=scores.device), min(_FIRST, vocabulary)
        while len(rows):  # fewer every time: those whose nucleus is larger
            top, tokens = likely[rows].topk(count)
            # Inside while what is likelier does not reach it yet; and where there is NaN, which `Draw` is to find.
            inside = ~(top.cumsum(-1) - top >= self.top_p)
            kept[rows] = torch.zeros_like(likely[rows], dtype=torch.bool).scatter_(-1, tokens, inside)
            rows = rows[inside[:, -1] & (count < vocabulary)]
            count = min(8 * count, vocabulary)
        return scores.masked_fill(~kept, -torch.inf)


class Draw:
    """Minus infinity for all but one token a row, drawn as its logits say.

    The generator is its own: torch's global one is shared by all threads, so that answers written at the same time, and
    whatever else draws meanwhile, would change one another. One random number a row, looked up in the cumulative
    probabilities: noise on every logit would cost more than the nucleus does.

    Raises:
        ConfigError: logits are not numbers.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self._generator = torch.Generator(device).manual_seed(seed)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Of logits, Float[rows vocabulary]."""
        # Double, since CUDA's running sum of a single row is not constant over zeros, but for what rounding does to it.
        precision = torch.float32 if scores.device.type == "mps" else torch.float64
        reached = scores.softmax(-1).cumsum(-1, dtype=precision)
        if not reached[:, -1].isfinite().all():
            raise ConfigError("the model's logits are not finite; load the base as float32 or bfloat16")
        drawn = torch.rand(len(scores), 1, generator=self._generator, device=scores.device, dtype=precision)
        share = (1 - drawn) * reached[:, -1:]  # never 0, maybe all: so a token of probability 0 is never the first
        token = torch.searchsorted(reached, share)
        return torch.full_like(scores, -torch.inf).scatter_(-1, token, 0.0)


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


class StopTexts:
    """A stopping criterion: rows whose answer holds one of some texts.

    Args:
        tokenizer: whose decoding the texts are looked for in.
        stop: the texts.
        prompt: tokens before the answers begin.
    """

    def __init__(self, tokenizer: Any, stop: Sequence[str], prompt: int) -> None:
        self._tokenizer, self._stop, self._prompt = tokenizer, stop, prompt
        self._longest = max(len(text.encode()) for text in stop) + 1  # a token is a byte of it at least

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Bool[rows] of all that is written, Int64[rows tokens]; read is what the last token may have completed."""
        ends = input_ids[:, max(self._prompt, input_ids.shape[1] - self._longest) :]
        written = self._tokenizer.batch_decode(ends, skip_special_tokens=True)
        return torch.tensor([any(text in end for text in self._stop) for end in written], device=input_ids.device)
