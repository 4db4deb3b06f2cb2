"""From one person to another: answers as z moves in a straight line between two people."""

import torch
from torch import Tensor

from tacit.policies import SteerablePolicy
from tacit_experiments.steering.world import SteeringWorld

__all__ = ["continuum", "opposed"]


def opposed(z: Tensor) -> tuple[int, int]:
    """The two people whose z, Float[users latent], point most nearly opposite ways."""
    unit = z / z.norm(dim=1, keepdim=True).clamp(min=1e-12)
    first, second = divmod(int((unit @ unit.T).argmin()), len(z))
    return first, second


def continuum(
    world: SteeringWorld,
    policy: SteerablePolicy,
    z: Tensor,
    ends: tuple[int, int],
    *,
    points: int = 11,
    samples: int = 8,
) -> Tensor:
    """Mean true reward in nats to both of `ends` (judges) at each point between them: Float32[points 2].

    Every new prompt is answered `samples` times at each point, under the same random numbers.
    """
    tastes = world.tastes[list(ends)]
    found = []
    for point in range(points):
        own = policy.mix(z[ends[0] : ends[0] + 1], z[ends[1] : ends[1] + 1], point / (points - 1))
        sampling = world.setting.sampling.model_copy(update={"seed": 1000 * world.seed + 700, "samples": samples})
        answers = policy.generate(world.prompts, own, sampling)
        attributes = torch.cat([world.world.measure(q, said) for q, said in zip(world.prompts, answers, strict=True)])
        found.append((attributes @ tastes.T).mean(0))
    return torch.stack(found)
