"""What most tests steer: a policy that is no longer the base."""

import torch

from tacit.policies import SteerablePolicy


def moved(policy: SteerablePolicy, seed: int = 3) -> SteerablePolicy:
    """The same policy with weights and a unit as training might leave them, far from the identity."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in policy.modulator.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    policy.modulator.unit.fill_(0.75)
    return policy
