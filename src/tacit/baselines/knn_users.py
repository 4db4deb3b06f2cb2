"""kNN over users: a new user is a mixture of the training users whose rewards explain the choices best.

Every training user u has a linear reward r_u(y) = w_u . e(y), fitted on the own choices around the population's,

    w_u = argmax_w  sum_j log sigmoid(w . (e(w_j) - e(l_j))) - precision / 2 |w - w_0|^2

with w_0 fitted likewise on everybody's choices around 0. A new user's choices weigh the training users by

    a_u ~ (prod_j sigmoid(r_u(w_j) - r_u(l_j)))^(1 / tau)

and the reward is sum_u a_u r_u, P(a over b) = sigmoid of its gap over a temperature. Without choices the weights are
uniform: the mean of the training users. Adapting takes no gradients. tau = 1 is Bayes' rule with the training users as
the prior; a larger tau allows for rewards that are themselves estimates. With `neighbours`, only that many of the
likeliest users count, together with those as likely as the last, so that nobody is drawn by lot.

Source: kernel regression (Nadaraya, 1964; Watson, 1964) over users as in neighbourhood collaborative filtering (Resnick
et al., 1994, "GroupLens"), with the likelihood of the choices as the kernel where GroupLens correlates ratings: two
users need no item in common. There is no published reference implementation for choices between texts, so e(y)
(principal components of the standardised training items, scaled by one number so that their mean squared norm is 1),
logistic rewards and the kernel are ours. The precision and tau are those with the best NLL on
validation users, this method's early stopping. Rewards are linear in the vectors: on the 1-D world, where users differ
by a kink, it stays at the population's accuracy.
"""

from typing import Any, Self

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn.functional import logsigmoid
from torch.nn.utils.rnn import pad_sequence

from tacit.baselines import baselines
from tacit.baselines.adaptive import AdaptiveModel, AdaptiveNetwork, Fitted, Run
from tacit.baselines.logistic import laplace_posterior
from tacit.baselines.method import grid
from tacit.baselines.pairs import Pairs, training_pairs
from tacit.rewards.calibration import fit_temperature, measure
from tacit.rewards.episodic_fit import FitData
from tacit.training.config import TrainingConfig

__all__ = ["KNNConfig", "KNNNetwork", "KNNUsers"]

PRECISIONS = (100.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01)
"""Of a user's departure from the population; 1 lets rewards of users differ by about 1 nat per item."""
TAUS = (0.5, 1.0, 2.0, 4.0, 8.0)
POPULATION_PRECISION = 1.0
BLOCK = 2**22
"""Numbers computed at a time: 32 MiB of float64."""
USERS_AT_ONCE = 64


class KNNConfig(BaseModel):
    """Settings.

    Attributes:
        components: principal components of items; the fit lowers it to what the vectors have.
        neighbours: how many training users count; None counts all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    components: int = Field(default=32, ge=1, le=4096)
    neighbours: int | None = Field(default=None, ge=1)


class KNNNetwork(AdaptiveNetwork):
    """The training users' linear rewards.

    Attributes:
        basis: Float64[dim components], from standardised vectors to e(y).
        table: Float64[n_users components], w_u.
        tau: Float64[], what divides the log-likelihood of choices in the users' weights.
    """

    config: KNNConfig
    basis: Tensor
    table: Tensor
    tau: Tensor

    def __init__(self, dim: int, config: KNNConfig, n_users: int = 1) -> None:
        super().__init__(dim, config, n_users)
        self.register_buffer("basis", torch.zeros(dim, config.components, dtype=torch.float64))
        self.register_buffer("table", torch.zeros(n_users, config.components, dtype=torch.float64))
        self.register_buffer("tau", torch.ones((), dtype=torch.float64))

    def features(self, items: Tensor) -> Tensor:
        """e(y), Float64[... components] of Float[... dim]."""
        return items.double() @ self.basis

    def log_likelihood(self, pairs: Pairs) -> Tensor:
        """Log-probability of users' pairs under every training user's reward: Float64[users n_users]."""
        gap, weight = self.features(pairs.difference), pairs.weight.double()
        users = max(1, BLOCK // max(1, gap.shape[1] * len(self.table)))
        return torch.cat([
            (w.unsqueeze(-1) * logsigmoid(g @ self.table.T)).sum(1)
            for g, w in zip(gap.split(users), weight.split(users), strict=True)
        ])  # fmt: skip

    def adapt(self, pairs: Pairs) -> Fitted:
        """`weight`, Float64[users components]: the mean of the training users' weights."""
        fit = self.log_likelihood(pairs)
        if self.config.neighbours is not None and self.config.neighbours < len(self.table):
            last = fit.topk(self.config.neighbours).values[:, -1:]
            fit = fit.masked_fill(fit < last - 1e-9, -torch.inf)  # rounding must not part users who are as likely
        return {"weight": (fit / self.tau).softmax(-1) @ self.table}

    def rewards(self, fitted: Fitted, items: Tensor) -> Tensor:
        """Float[users items]."""
        return (self.features(items) @ fitted["weight"].unsqueeze(-1)).squeeze(-1).to(items.dtype)


@baselines.register("knn")
class KNNUsers(AdaptiveModel):
    """kNN over users as a `PreferenceModel`."""

    name = "knn_users"
    label, kind = "kNN users", "strong"
    network_class, config_class = KNNNetwork, KNNConfig
    grid = grid({}, {"components": 64}, {"components": 128}, {"neighbours": 50})

    @classmethod
    def fitted(cls, data: FitData, config: KNNConfig, training: TrainingConfig, run: Run, **told: Any) -> Self:
        """Fit a reward per training user; choose precision, tau and temperature on validation users.

        Of `training` only the shape and seed of validation episodes are taken; nothing is left to resume.
        """
        dim = data.raw.shape[1]
        config = config.model_copy(update={"components": min(config.components, dim)})
        network = KNNNetwork(dim, config, data.choices.n_users).eval()
        network.standardizer.load_state_dict(data.standardizer.state_dict())
        network.basis.copy_(_principal(data.vectors[data.used], config.components))
        episodes, gaps, weights = data.episodes(training), *_by_user(data, network)
        run.emit("start", 0, 1)

        with torch.no_grad():
            centre = 0 * network.basis[0]
            everybody = _user_weights([torch.cat(gaps)], [torch.cat(weights)], centre, POPULATION_PRECISION)
            tables = {p: _user_weights(gaps, weights, everybody[0], p) for p in PRECISIONS}

        def nll(precision: float, tau: float) -> float:
            network.table.copy_(tables[precision])
            network.tau.fill_(tau)
            return measure(network, episodes)["nll"]

        precision = min(tables, key=lambda p: nll(p, 1.0))
        tau = min(TAUS, key=lambda t: nll(precision, t))
        notes = {"seed": training.seed, "precision": precision, "tau": tau, "validation_nll": nll(precision, tau)}
        run.emit("end", 1, 1)
        return cls(network, fit_temperature(network, episodes), notes)


def _principal(items: Tensor, components: int) -> Tensor:
    """Basis Float64[dim components] of centred items Float[items dim], in which their mean squared norm is 1."""
    values, vectors = torch.linalg.eigh(items.double().T @ items.double() / len(items))
    kept = values.flip(0)[:components].sum().clamp(min=1e-12)
    return vectors.flip(1)[:, :components] / kept.sqrt()


def _by_user(data: FitData, network: KNNNetwork) -> tuple[list[Tensor], list[Tensor]]:
    """Per training user, feature differences Float64[pairs components] and weights Float64[pairs]."""
    pairs, features = training_pairs(data.choices), network.features(data.vectors)
    counts = torch.bincount(pairs.user, minlength=data.choices.n_users).tolist()
    gaps = features[pairs.winner] - features[pairs.loser]
    return list(gaps.split(counts)), list(pairs.weight.double().split(counts))


def _user_weights(gaps: list[Tensor], weights: list[Tensor], centre: Tensor, precision: float) -> Tensor:
    """w_u = centre + v / sqrt(precision), so that v has the penalty |v|^2 / 2: Float64[users components]."""
    scale, found = precision**-0.5, []
    for first in range(0, len(gaps), USERS_AT_ONCE):
        gap = pad_sequence(gaps[first : first + USERS_AT_ONCE], batch_first=True)
        weight = pad_sequence(weights[first : first + USERS_AT_ONCE], batch_first=True)
        found.append(centre + scale * laplace_posterior(scale * gap, gap @ centre, weight).mode)
    return torch.cat(found)
