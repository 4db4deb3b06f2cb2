"""Bayes mixture: users are of a few kinds, each kind has one BTL reward, a user is a posterior over kinds.

With group shares pi_g and rewards r_g, the choices (w_j over l_j) of one user have the likelihood

    p(choices) = sum_g pi_g prod_j sigmoid(r_g(w_j) - r_g(l_j)),

a user's posterior is the share of each term in this sum, and P(a over b) = sum_g posterior_g sigmoid(gap_g / T).
Without choices the posterior is pi. Very strong where users are few kinds; where they are not, a codebook.

Source: the finite mixture of BTLs fitted by EM as in MaxMin-RLHF (Chakraborty et al., 2024, arXiv 2402.08925), with
Bayes' rule for a new user. `GroupMixture` finds the kinds; `KnownGroupMixture` is told them, an upper line.

Deviations: (1) rewards are the outputs of one MLP, the pooled BTL's with `groups` outputs, so that kinds share
features. (2) Soft responsibilities and learnt shares, where MaxMin-RLHF assigns each user to one kind for good.
(3) EM takes one gradient step at a time: the gradient of -log p(choices) is the BTL gradient weighted by exact
responsibilities, so descending it is EM with partial M steps (Neal and Hinton, 1998), and has early stopping on
validation users like every method here. An episode shows some of a user's choices, which keeps responsibilities soft
while rewards are young; no restart or annealing was needed to tell planted kinds apart. (4) Standardised vectors,
which all methods share.
"""

from typing import Any, ClassVar, Self

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from tacit.baselines import baselines
from tacit.baselines.adaptive import AdaptiveModel, AdaptiveNetwork, Fitted, Run
from tacit.baselines.method import FAST_MANY, grid
from tacit.baselines.pairs import Pairs, episode_pairs
from tacit.choices.index import ChoiceIndex
from tacit.encoders.encoder import mlp
from tacit.episodes.episode import Episode
from tacit.errors import ChoiceError
from tacit.rewards.episodic_fit import FitData, seeded_modules
from tacit.rewards.protocol import centred
from tacit.training.config import ObjectiveConfig, TrainingConfig

__all__ = ["GroupMixture", "KnownGroupMixture", "MixtureConfig", "MixtureNetwork"]


HIDDEN = 128


class MixtureConfig(BaseModel):
    """How many kinds of users, and dropout in the MLP behind their rewards."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    groups: int = Field(default=4, ge=1, le=1024)
    dropout: float = Field(default=0.3, ge=0, lt=1)


class MixtureNetwork(AdaptiveNetwork):
    """`groups` rewards and the log shares of their groups (up to a constant)."""

    has_uncertainty: ClassVar[bool] = True

    def __init__(self, dim: int, config: MixtureConfig, n_users: int = 1) -> None:
        super().__init__(dim, config)
        self.net = mlp([dim, HIDDEN, config.groups], dropout=config.dropout)
        self.log_share = nn.Parameter(torch.zeros(config.groups))

    def log_joint(self, rewards: Pairs) -> Tensor:
        """Log pi_g prod_j p_g(pair_j), Float64[users groups], of pairs of group rewards."""
        return self.log_share.double().log_softmax(0) + log_likelihood(rewards)

    def loss(self, episode: Episode, objective: ObjectiveConfig, generator: torch.Generator | None) -> Tensor:
        """-log p of all choices of the episode, per choice; its gradient is EM's."""
        rewards = episode_pairs(episode.through(self.net))
        return _per_choice(self.log_joint(rewards).logsumexp(-1), rewards)

    def adapt(self, pairs: Pairs) -> Fitted:
        """`share`, Float[users groups]: the posterior over groups."""
        rewards = Pairs(self.net(pairs.winner), self.net(pairs.loser), pairs.weight)
        return {"share": self.log_joint(rewards).softmax(-1).float()}

    def rewards(self, fitted: Fitted, items: Tensor) -> Tensor:
        """Posterior mean of the groups' rewards: Float[users items]."""
        return (self.net(items) * fitted["share"].unsqueeze(1)).sum(-1)

    def preference(self, fitted: Fitted, a: Tensor, b: Tensor, *, temperature: float | Tensor = 1.0) -> Tensor:
        """Posterior mean of sigmoid(gap_g / T): Float[users pairs], or one for each temperature Float[... 1 1]."""
        if isinstance(temperature, Tensor):
            temperature = temperature.unsqueeze(-1)
        p = ((self.net(a) - self.net(b)) / temperature).sigmoid()
        return (p * fitted["share"].unsqueeze(1)).sum(-1)

    def doubt(self, fitted: Fitted, items: Tensor) -> Tensor:
        """Standard deviation of the centred rewards over groups: Float[users items]."""
        reward = centred(self.net(items).movedim(-1, 0)).movedim(0, -1)  # Float[(users) items groups]
        share = fitted["share"].unsqueeze(1)
        mean = (reward * share).sum(-1, keepdim=True)
        return ((reward - mean).square() * share).sum(-1).sqrt()


class KnownMixtureNetwork(MixtureNetwork):
    """The same, trained on users whose group somebody knows; `labels` are these groups, Int64[users]."""

    labels: Tensor | None = None

    def loss(self, episode: Episode, objective: ObjectiveConfig, generator: torch.Generator | None) -> Tensor:
        """-log p of all choices of the episode under the users' true groups, per choice."""
        assert self.labels is not None, "set by the fit"
        assert episode.users is not None, "the sampler says who"
        label = self.labels.to(episode.users.device)[episode.users].unsqueeze(1)
        rewards = episode_pairs(episode.through(self.net))
        return _per_choice(log_likelihood(rewards).gather(1, label), rewards)


def log_likelihood(rewards: Pairs) -> Tensor:
    """Log prod_j p_g(pair_j): Float64[users groups]; float32 sums would depend on the order of choices."""
    return (rewards.weight.unsqueeze(-1) * logsigmoid(rewards.difference)).double().sum(1)


@baselines.register("mixture")
class GroupMixture(AdaptiveModel):
    """The mixture with groups found by EM as a `PreferenceModel`."""

    name = "mixture"
    label, kind = "mixture of BTLs (EM)", "strong"
    network_class, config_class = MixtureNetwork, MixtureConfig
    grid = grid({}, {"groups": 8}, {"groups": 4, "principal": 32}, {"groups": 2, "dropout": 0.0, "training": FAST_MANY})


@baselines.register("mixture_known")
class KnownGroupMixture(GroupMixture):
    """The mixture that was told the groups of its training users: an upper line, not a rival."""

    name = "mixture_known"
    label, kind = "mixture, told the types", "upper"
    network_class = KnownMixtureNetwork
    grid = grid({}, {}, {}, {})

    @classmethod
    def fit(
        cls,
        choices: ChoiceIndex,
        vectors: Tensor,
        *,
        groups: Tensor,
        validation_groups: Tensor | None = None,
        **settings: Any,
    ) -> Self:
        """Fit one reward per known group, with the groups' shares as prior; the rest is as for `GroupMixture`.

        Args:
            groups: Int64[users], the true group of each training user, 0 .. n - 1; `config.groups` becomes n.

        Raises:
            ChoiceError: not one group per training user, or a group of which nobody chose something.
        """
        if groups.shape != (choices.n_users,) or int(groups.min()) < 0:
            raise ChoiceError(
                f"groups of shape {list(groups.shape)} from {int(groups.min())} for {choices.n_users} training users; "
                "give each user a number from 0"
            )
        labels = groups[choices.counts > 0]  # as `fit_data` renumbers users
        members = torch.bincount(labels, minlength=int(groups.max()) + 1)
        if not bool((members > 0).all()):
            raise ChoiceError(
                f"group {int(members.argmin())} has no training user with choices; number groups 0 .. n - 1"
            )
        return super().fit(choices, vectors, labels=labels, **settings)

    @classmethod
    def fitted(cls, data: FitData, config: MixtureConfig, training: TrainingConfig, run: Run, **told: Any) -> Self:
        """As `GroupMixture`, told the `labels` of the users of `data`, Int64[users]."""
        labels: Tensor = told["labels"]
        members = torch.bincount(labels)
        with seeded_modules(training.seed):
            network = KnownMixtureNetwork(data.raw.shape[1], config.model_copy(update={"groups": len(members)}))
        network.labels = labels
        with torch.no_grad():
            network.log_share.copy_((members / len(labels)).log())
        return cls.trained(network, data, training, run)


def _per_choice(log_p: Tensor, pairs: Pairs) -> Tensor:
    """Minus log-probabilities of users' pairs, summed, per pair."""
    return -(log_p.sum() / pairs.weight.sum().clamp(min=1e-12)).float()
