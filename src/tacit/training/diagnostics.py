"""Is personalisation alive? A model can fit well while ignoring the user; these numbers tell."""

from typing import Protocol

import torch
from torch import Tensor

from tacit.encoders.posterior import LatentPosterior
from tacit.episodes.batch import ChoiceBatch
from tacit.episodes.episode import Episode

__all__ = ["Personalised", "collapse_report"]


class Personalised(Protocol):
    """The part of a network that the diagnostics look at."""

    def posterior(self, choices: ChoiceBatch) -> LatentPosterior:
        """q(z | choices)."""
        ...

    def log_prob(self, choices: ChoiceBatch, z: Tensor) -> Tensor:
        """Log p(choice | z): Float[samples users choices]."""
        ...


_SWAPS = 8  # a swap with one other user may meet one of the same taste; of few users many do


@torch.no_grad()
def collapse_report(network: Personalised, episode: Episode) -> dict[str, float]:
    """How much users differ in z, in rewards, and whether the difference is theirs.

    Returns:
        active_units: latent dimensions whose posterior mean varies over users by more than 0.01 (Burda et al., 2016,
            arXiv 1509.00519, section 5.2).
        reward_change: mean |change| in nats of a target's log-likelihood when another user's z is put in.
        swap_gain: nats per target by which a user's own z beats the z of others, up to 8 each; 0 where
            personalisation is inert.
        swap_gain_error: its standard error over users.
        swap_users: how many users that is, those with targets.
    """
    z = network.posterior(episode.context).mean
    weight = episode.target.weight
    total = weight.sum(-1)
    present = total > 0
    users = int(present.sum())
    if users < 2:
        return dict.fromkeys(("active_units", "reward_change", "swap_gain", "swap_gain_error"), 0.0) | {
            "swap_users": users
        }
    own_first = torch.stack([z.roll(shift, dims=0) for shift in range(min(_SWAPS + 1, len(z)))])
    log_prob = network.log_prob(episode.target, own_first)
    lost = log_prob[0] - log_prob[1:]
    gain, change = (((x * weight).sum(-1) / total.clamp(min=1e-9))[present] for x in (lost.mean(0), lost.abs().mean(0)))
    return {
        "active_units": float((z.var(0) > 0.01).sum()),
        "reward_change": change.mean().item(),
        "swap_gain": gain.mean().item(),
        "swap_gain_error": (gain.std() / users**0.5).item(),
        "swap_users": users,
    }
