"""The trainable part of a reward model: encoder, head, item standardisation, tie parameter."""

from typing import Any

import torch
from torch import Tensor, nn

from tacit.encoders.encoder import Encoder
from tacit.encoders.posterior import LatentPosterior
from tacit.episodes.batch import ChoiceBatch
from tacit.episodes.episode import Episode
from tacit.errors import ConfigError
from tacit.likelihoods.choice import choice_log_prob
from tacit.objectives.reward import elbo, predictive
from tacit.rewards.config import RewardConfig
from tacit.rewards.expected_preference import preference
from tacit.rewards.heads.head import RewardHead
from tacit.training.config import ObjectiveConfig
from tacit.training.diagnostics import collapse_report
from tacit.training.loop import Trainable

__all__ = ["RewardNetwork", "Standardizer"]


class Standardizer(nn.Module):
    """Zero mean and unit variance per dimension, fitted on training items and saved with the model.

    With `principal`, the dimensions are the first so many principal components of the training items: fewer, whitened.
    """

    mean: Tensor
    scale: Tensor
    basis: Tensor

    def __init__(self, dim: int, principal: int | None = None) -> None:
        super().__init__()
        self.principal = principal
        self.width = principal or dim
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(self.width))
        if principal:
            self.register_buffer("basis", torch.eye(dim)[:, :principal].contiguous())

    def fit(self, vectors: Tensor) -> None:
        """Fit on Float[items dim]; dimensions that never vary are only centred.

        Raises:
            ConfigError: fewer items or dimensions than principal components.
        """
        mean = vectors.mean(0)
        self.mean.copy_(mean)
        if self.principal:
            if self.principal > min(vectors.shape):
                raise ConfigError(
                    f"principal = {self.principal} components of {len(vectors)} items of size {vectors.shape[1]}; "
                    "ask for fewer"
                )
            basis = torch.linalg.svd((vectors - mean).double(), full_matrices=False).Vh[: self.principal].T
            # A singular vector's sign is the algorithm's whim; the largest entry is made positive.
            sign = basis.gather(0, basis.abs().argmax(0, keepdim=True)).sign()
            self.basis.copy_(basis * sign)
            vectors = (vectors - mean) @ self.basis
        std = vectors.std(0, correction=0)
        self.scale.copy_(torch.where(std > 1e-6 * std.max().clamp(min=1e-12), std, torch.ones_like(std)))

    def forward(self, vectors: Tensor) -> Tensor:
        """Standardised Float[... width] of raw Float[... dim]."""
        centred = vectors - self.mean
        return (centred @ self.basis if self.principal else centred) / self.scale


class RewardNetwork(Trainable):
    """p(choice | z) with r(item; z) from the head and z from the encoder. Works on STANDARDISED vectors throughout.

    Args:
        dim: size of an item vector.
        config: what it is made of.
        ties: learn Davidson's tie parameter; without it a tie counts half for each order.
    """

    def __init__(self, dim: int, config: RewardConfig, *, ties: bool = False) -> None:
        super().__init__()
        self.dim, self.config = dim, config
        self.standardizer = Standardizer(dim, config.principal)
        self.encoder, self.head = _parts(self.standardizer.width, config)
        self.log_nu = nn.Parameter(torch.zeros(())) if ties else None

    @property
    def ties(self) -> bool:
        """Whether ties have a probability of their own."""
        return self.log_nu is not None

    def log_prob(self, choices: ChoiceBatch, z: Tensor) -> Tensor:
        """Log p(choice | z): Float[samples users choices] for z Float[samples users latent]."""
        return self.log_prob_of(choices.with_vectors(self.head.read(choices.vectors)), z)

    def log_prob_of(self, read: ChoiceBatch, z: Tensor) -> Tensor:
        """The same over items that the head has read."""
        scores = self.head.combine(read.vectors.flatten(1, 2), z).unflatten(-1, read.rank.shape[1:])
        rank = read.rank if read.rank.shape[2] == 2 else read.rank.expand(scores.shape)  # gathered along the slots
        return choice_log_prob(scores, rank, self.log_nu)

    def loss(self, episode: Episode, objective: ObjectiveConfig, generator: torch.Generator | None) -> Tensor:
        """The training objective of one episode: a scalar in nats per target."""
        read = episode.through(self.head.read)  # each item passes once, for both sides and for the encoder if it shares
        seen, compare = (read, self.encoder.compare) if self._shares else (episode, self.encoder.evidence)
        context, target = seen.context, read.target
        rows = compare(context)
        posterior = self.encoder.posterior(rows, context.weight)
        if objective.kind == "elbo" and self.encoder.has_uncertainty:
            every = torch.cat([rows, compare(seen.target)], dim=1)
            prior, weight = posterior, torch.cat([context.weight, target.weight], dim=1)
            posterior = self.encoder.posterior(every, weight)
            log_prob = self.log_prob_of(target, posterior.rsample(objective.samples, generator))
            return elbo(log_prob, target.weight, posterior.kl(prior), beta=objective.beta)
        z, log_draw = posterior.draws(objective.samples, generator)
        return predictive(self.log_prob_of(target, z), target.weight, log_draw)

    @property
    def _shares(self) -> bool:
        """Whether the encoder compares items as the head reads them, or does not look at all."""
        return self.encoder.features is not None or not self.encoder.latent

    def posterior(self, choices: ChoiceBatch) -> LatentPosterior:
        """q(z | choices) of standardised choices."""
        return self.encoder(choices)

    def preference(
        self, posterior: LatentPosterior, a: Tensor, b: Tensor, *, temperature: float | Tensor = 1.0
    ) -> Tensor:
        """P(a preferred to b) averaged over the posterior: Float[users pairs]."""
        return preference(self.head, posterior, a, b, temperature=temperature, log_nu=self.log_nu)

    def diagnose(self, episode: Episode) -> dict[str, float]:
        """Whether z is used at all."""
        return collapse_report(self, episode) if self.encoder.latent else {}


def _parts(dim: int, config: RewardConfig) -> tuple[Encoder, RewardHead]:
    """Encoder and head as `config` names them; an encoder that reads the reward shares the head's network."""
    settings, latent = config.encoder.settings, config.members * config.latent
    common: dict[str, Any] = {"dropout": config.dropout}
    if not settings.reads_reward:
        encoder = config.encoder.part(dim, latent, settings, **common)
        return encoder, config.head.part(dim, encoder.latent, config.head.settings, **common)
    based = {"base": True, "members": config.members} if config.base else {}
    head = config.head.part(dim, latent, config.head.settings, **common, **based)
    return config.encoder.part(dim, latent, settings, features=head.net, **common), head
