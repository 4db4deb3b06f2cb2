"""Counter-based randomness: the same numbers for the same (seed, ids), in any order, on any device."""

import torch
from torch import Tensor

__all__ = ["hash_unit", "mix", "step_generator"]

_MASK = (1 << 64) - 1


def mix(*values: int) -> int:
    """A non-negative 63-bit number that depends on every value (splitmix64 finaliser, Steele et al., 2014)."""
    state = 0
    for value in values:
        state = (state + value + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state >> 1


def hash_unit(ids: Tensor, salt: Tensor | int) -> Tensor:
    """Uniform Float64 in [0, 1) for each Int64 id, fixed by (id, salt); `salt` broadcasts."""
    state = ids * -7046029254386353131 + salt  # int64 wraps around; right shifts are arithmetic, so mask them
    state = (state ^ ((state >> 30) & 0x3FFFFFFFF)) * -4658895280553007687
    state = (state ^ ((state >> 27) & 0x1FFFFFFFFF)) * -7723592293110705685
    state = state ^ ((state >> 31) & 0x1FFFFFFFF)
    return ((state >> 11) & 0x1FFFFFFFFFFFFF).to(torch.float64) * 2.0**-53


def step_generator(seed: int, *counters: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator for one step of one stream: resuming at a step needs no stored random state."""
    return torch.Generator(device=device).manual_seed(mix(seed, *counters))
