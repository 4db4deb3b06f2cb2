"""How well a network predicts fixed validation episodes, and the one temperature that suits its probabilities best."""

from typing import Any, Protocol

import torch
from torch import Tensor

from tacit.episodes.batch import ChoiceBatch
from tacit.episodes.episode import Episode
from tacit.errors import ChoiceError

__all__ = ["Predictor", "fit_temperature", "measure"]


class Predictor(Protocol):
    """A network that infers users from standardised choices and predicts what they choose."""

    @property
    def ties(self) -> bool:
        """Whether the two orders of a pair leave mass for a tie."""
        ...

    def posterior(self, choices: ChoiceBatch) -> Any:
        """What it makes of each user."""
        ...

    def preference(self, posterior: Any, a: Tensor, b: Tensor, /, *, temperature: float | Tensor = 1.0) -> Tensor:
        """P(a preferred to b): Float[users pairs], or one such for each temperature Float[... 1 1]."""
        ...


@torch.no_grad()
def measure(network: Predictor, episodes: list[Episode]) -> dict[str, float]:
    """Validation NLL and accuracy, per user and then averaged, over all episodes.

    Raises:
        ChoiceError: nobody has both context and target choices.
    """
    nll, accuracy, count = 0.0, 0.0, 0
    for episode in episodes:
        posterior = network.posterior(episode.context)
        forward = _probability(network, posterior, episode)
        backward = _probability(network, posterior, episode, reverse=True) if network.ties else 1 - forward
        log_p, weight = _log_likelihood(network, episode, forward, backward), episode.target.weight
        total = weight.sum(-1)
        present = total > 0
        tie = episode.target.rank[:, :, 1] == 0  # neither order is right
        right = torch.where(tie, 0.5, (forward > backward).float() + 0.5 * (forward == backward).float())
        nll -= ((log_p * weight).sum(-1) / total)[present].sum().item()
        accuracy += ((right * weight).sum(-1) / total)[present].sum().item()
        count += int(present.sum())
    if not count:
        raise ChoiceError(
            "no validation user has both context and target choices; bring more choices per user or more prompts"
        )
    return {"nll": nll / count, "accuracy": accuracy / count}


@torch.no_grad()
def fit_temperature(network: Predictor, episodes: list[Episode]) -> float:
    """The one temperature with the least validation NLL, in [1/64, 64]: ever finer grids around the best so far.

    A grid's temperatures are tried together, and users are inferred once for all of them.
    """
    posteriors = [network.posterior(episode.context) for episode in episodes]

    def losses(log_t: Tensor) -> Tensor:
        temperature = log_t.exp2()[:, None, None]
        total = torch.zeros_like(log_t)
        for episode, posterior in zip(episodes, posteriors, strict=True):
            forward = _probability(network, posterior, episode, temperature)
            backward = _probability(network, posterior, episode, temperature, reverse=True) if network.ties else None
            total -= (_log_likelihood(network, episode, forward, backward) * episode.target.weight).sum((1, 2))
        return total

    best = 0.0
    for step, reach in ((1.0, 6), (1 / 3, 2), (1 / 9, 2), (1 / 27, 2)):
        grid = (best + step * torch.arange(-reach, reach + 1)).clamp(-6, 6)
        best = grid[losses(grid).argmin()].item()
    return 2.0**best


def _probability(
    network: Predictor, posterior: Any, episode: Episode, temperature: float | Tensor = 1.0, *, reverse: bool = False
) -> Tensor:
    """P(first slot over second) of each target, or of the reverse: Float[users targets], for each temperature."""
    first, second = episode.target.vectors[:, :, 0], episode.target.vectors[:, :, 1]
    a, b = (second, first) if reverse else (first, second)
    return network.preference(posterior, a, b, temperature=temperature)


def _log_likelihood(network: Predictor, episode: Episode, forward: Tensor, backward: Tensor | None) -> Tensor:
    """Posterior-averaged log p of targets; a ranking counts by its best against its second."""
    if network.ties and backward is not None:
        tie = episode.target.rank[:, :, 1] == 0
        forward = torch.where(tie, 1 - forward - backward, forward)
    return forward.clamp(min=1e-12).log()
