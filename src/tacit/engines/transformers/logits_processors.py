"""The next token: which may be drawn, and the draw, as processors of logits for `transformers`' `generate`."""

import torch
from torch import Tensor

from tacit.errors import ConfigError

__all__ = ["Draw", "Nucleus"]

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
