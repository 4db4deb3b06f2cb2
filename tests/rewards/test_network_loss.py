"""The training loss, which reads every item once, against the same said plainly, values and gradients."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tacit.choices import ChoiceIndex
from tacit.episodes import Episode, EpisodeSampler
from tacit.likelihoods.choice import choice_log_prob
from tacit.objectives.reward import elbo, predictive
from tacit.rewards import RewardConfig
from tacit.rewards.network import RewardNetwork
from tacit.testing.samples import seeded_module
from tacit.training import ObjectiveConfig

DIM, ITEMS = 4, 12
SMALL: dict[str, Any] = {"latent": 2, "head": {"hidden": (8,)}, "dropout": 0.0}
PAIRS = {"kind": "additive", "evidence": "network", "hidden": (8,)}
CONFIGS: dict[str, dict[str, Any]] = {
    "laplace": {},
    "laplace-mixture": {"encoder": {"components": 3}, "base": False},
    "additive-reward": {"encoder": "additive"},
    "additive-base": {"encoder": "additive", "base": True},
    "additive-network": {"encoder": PAIRS},
    "additive-deterministic": {"encoder": {"kind": "additive", "variational": False}},
    "mlp": {"encoder": PAIRS, "head": "mlp"},
    "attention": {"encoder": "attention"},
    "none": {"encoder": "none"},
}
GAUSSIAN = [name for name in CONFIGS if name.startswith(("additive", "mlp", "attention")) and "determ" not in name]


def network_of(name: str, *, ties: bool = False, **more: Any) -> RewardNetwork:
    config = RewardConfig.model_validate(SMALL | CONFIGS[name] | more)
    return seeded_module(lambda: RewardNetwork(DIM, config, ties=ties))


def episode_of(slots: int) -> Episode:
    """Users of unequally many choices between the same items: pairs, or rankings with padding and ties."""
    g = torch.Generator().manual_seed(slots)
    n = 60
    items = torch.stack([torch.randperm(ITEMS, generator=g)[:slots] for _ in range(n)])
    ranks = [[0, 1], [0, 1], [0, 0]] if slots == 2 else [[0, 1, 2], [0, 1, -1], [0, 1, 1]]
    user = torch.randint(6, (n,), generator=g)
    weight = 0.5 + torch.rand(n, generator=g, dtype=torch.float64)
    rank = torch.tensor(ranks)[torch.arange(n) % 3]
    index = ChoiceIndex.build(user, items, rank, items, n_users=7, weight=weight)  # user 6 brings nothing
    vectors = torch.randn(ITEMS, DIM, generator=g, dtype=torch.float64)
    return EpisodeSampler(index, vectors, 4, 3, seed=0).sample(torch.arange(7), 2)


def plain_loss(network: RewardNetwork, episode: Episode, objective: ObjectiveConfig) -> Tensor:
    """From the encoder, the head and the likelihood, each over the vectors of every slot."""
    context, target, noise = episode.context, episode.target, torch.Generator().manual_seed(3)

    def log_prob(z: Tensor) -> Tensor:
        scores = network.head(target.vectors.flatten(1, 2), z).unflatten(-1, target.rank.shape[1:])
        return choice_log_prob(scores, target.rank.expand(scores.shape), network.log_nu)

    posterior = network.encoder(context)
    if objective.kind == "elbo" and network.encoder.has_uncertainty:
        informed = network.encoder(context.join(target))
        z = informed.rsample(objective.samples, noise)
        return elbo(log_prob(z), target.weight, informed.kl(posterior), beta=objective.beta)
    z, log_draw = posterior.draws(objective.samples, noise)
    return predictive(log_prob(z), target.weight, log_draw)


@pytest.mark.parametrize(
    ("name", "kind"),
    [(name, "predictive") for name in CONFIGS] + [(name, "elbo") for name in (*GAUSSIAN, "none")],
)
@pytest.mark.parametrize("slots", [2, 3])
def test_the_loss_is_what_its_parts_say(name: str, kind: str, slots: int) -> None:
    network, episode = network_of(name, ties=slots == 2).train(), episode_of(slots)
    objective = ObjectiveConfig.model_validate({"kind": kind, "samples": 4, "beta": 0.7})
    parameters = [p for p in network.parameters() if p.requires_grad]
    found = network.loss(episode, objective, torch.Generator().manual_seed(3))
    expected = plain_loss(network, episode, objective)
    assert found.isfinite()
    assert_close(found, expected, rtol=1e-10, atol=1e-12)
    slopes = (torch.autograd.grad(loss, parameters, allow_unused=True) for loss in (found, expected))
    for ours, theirs in zip(*slopes, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            assert_close(ours, theirs, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("slots", [2, 3])
def test_log_prob_of_items_already_read_is_log_prob(slots: int) -> None:
    target = episode_of(slots).target
    for name in ("laplace", "mlp", "none"):
        network = network_of(name)
        z = torch.randn(3, 7, network.encoder.latent, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        read = target.with_vectors(network.head.read(target.vectors))
        assert_close(network.log_prob_of(read, z), network.log_prob(target, z))


@pytest.mark.parametrize("name", ["laplace", "laplace-mixture", "additive-reward", "additive-base", "none"])
def test_an_encoder_that_reads_the_reward_costs_no_second_pass(name: str) -> None:
    network, episode, rows = network_of(name), episode_of(2), []
    network.head.net.register_forward_hook(lambda _module, inputs, _output: rows.append(len(inputs[0])))  # type: ignore[union-attr]
    network.loss(episode, ObjectiveConfig(), torch.Generator())
    assert rows == [len(episode.items)]
    assert len(episode.items) <= ITEMS
