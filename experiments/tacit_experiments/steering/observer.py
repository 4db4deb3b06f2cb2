"""What can be known of somebody after a few choices, by whoever knows the world."""

import numpy as np
import torch
from torch import Tensor

from tacit.worlds.text import draw_directions

__all__ = ["bayes_observer"]


def bayes_observer(gaps: Tensor, scale: float, *, draws: int = 20_000, seed: int = 0) -> Tensor:
    """E[weights | choices], Float32[users attributes], where tastes are uniform on a sphere of radius `scale`.

    By importance sampling from the prior; `gaps`, Float[users choices attributes], are chosen less rejected.
    """
    rng = np.random.default_rng([seed, 8])
    drawn = torch.from_numpy(scale * draw_directions("sphere", draws, gaps.shape[-1], rng)).float()
    found = []
    for some in gaps.split(16):
        fit = torch.nn.functional.logsigmoid(torch.einsum("uca,da->udc", some, drawn)).sum(-1)
        found.append(fit.softmax(1) @ drawn)
    return torch.cat(found)
