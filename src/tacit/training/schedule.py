"""The learning-rate schedule."""

import math

__all__ = ["warmup_cosine"]


def warmup_cosine(step: int, steps: int, warmup: float) -> float:
    """Factor in (0, 1] on the peak rate: linear over the first `warmup` share, then cosine to 1 %."""
    rise = max(1, round(warmup * steps))
    if step < rise:
        return (step + 1) / rise
    progress = (step - rise) / max(1, steps - rise)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress))
