"""What most tests steer: a policy that is no longer the base; by whom; what is answered, and what it refuses."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from tacit.engines import Engine, Sampling, requests
from tacit.errors import TacitError
from tacit.steering import SteerablePolicy


def moved(policy: SteerablePolicy, seed: int = 3) -> SteerablePolicy:
    """The same policy with weights and a unit as training might leave them, far from the identity."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in policy.modulator.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    policy.modulator.unit.fill_(0.75)
    return policy


def some_z(users: int = 1, seed: int = 2) -> Tensor:
    """Of the size of the fixtures' reward model: Float[users 4]."""
    return torch.randn(users, 4, generator=torch.Generator().manual_seed(seed))


def answers(
    engine: Engine, prompts: Sequence[Any], z: Tensor | None, sampling: Sampling | None = None
) -> list[list[str]]:
    """The texts that an engine writes."""
    return [[answer.text for answer in some] for some in engine.generate(requests(prompts, z, sampling))]


def refused(call: Callable[[], object], error: type[TacitError]) -> str:
    """What an error of exactly this kind says, in one line."""
    with pytest.raises(error) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)
