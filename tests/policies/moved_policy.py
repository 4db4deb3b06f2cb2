"""What most tests steer: a policy that is no longer the base; by whom; and what it refuses."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tacit.errors import TacitError
from tacit.policies import SteerablePolicy


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


def refused(call: Callable[[], object], error: type[TacitError]) -> str:
    """What an error of exactly this kind says, in one line."""
    with pytest.raises(error) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)
