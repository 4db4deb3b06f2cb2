"""From one person to another: answers as z moves in a straight line between two people."""

import torch
from torch import Tensor

from tacit.engines import TransformersEngine, requests
from tacit_experiments.steering.world import SteeringWorld

__all__ = ["continuum", "opposed"]


def opposed(z: Tensor) -> tuple[int, int]:
    """The two people whose z, Float[users latent], point most nearly opposite ways."""
    unit = z / z.norm(dim=1, keepdim=True).clamp(min=1e-12)
    first, second = divmod(int((unit @ unit.T).argmin()), len(z))
    return first, second


def continuum(
    world: SteeringWorld,
    engine: TransformersEngine,
    z: Tensor,
    ends: tuple[int, int],
    *,
    points: int = 11,
    samples: int = 8,
) -> Tensor:
    """Mean true reward in nats to both of `ends` (judges) at each point between them: Float32[points 2].

    Every new prompt is answered `samples` times at each point, under the same random numbers.
    """
    tastes, policy = world.tastes[list(ends)], engine.policy
    assert policy is not None
    found = []
    for point in range(points):
        own = policy.mix(z[ends[0] : ends[0] + 1], z[ends[1] : ends[1] + 1], point / (points - 1))
        sampling = world.setting.sampling.model_copy(update={"seed": 1000 * world.seed + 700, "samples": samples})
        answers = engine.generate(requests(world.prompts, own, sampling))
        attributes = torch.cat([
            world.world.measure(question, [answer.text for answer in said])
            for question, said in zip(world.prompts, answers, strict=True)
        ])  # fmt: skip
        found.append((attributes @ tastes.T).mean(0))
    return torch.stack(found)
