"""The Bayes mixture: the posterior over groups is Bayes' rule, and EM finds planted groups."""

import numpy as np
import pytest
import torch
from torch import Tensor

from tacit.baselines.mixture import (
    GroupMixture,
    KnownGroupMixture,
    KnownMixtureNetwork,
    MixtureConfig,
    MixtureNetwork,
    log_likelihood,
)
from tacit.baselines.pairs import Pairs
from tacit.choices import ChoiceIndex
from tacit.episodes.batch import ChoiceBatch
from tacit.errors import ChoiceError
from tacit.rewards.episodic_fit import seeded_modules
from tacit.testing import SavedModelConformance
from tacit.training import TrainingConfig
from tacit.worlds.piecewise import PiecewiseWorld, bayes_optimal_accuracy


def network(kind: type[MixtureNetwork], dim: int, seed: int) -> MixtureNetwork:
    """Untrained, with unequal shares."""
    with seeded_modules(seed), torch.no_grad():
        made = kind(dim, MixtureConfig(groups=3))
        made.standardizer.fit(0.5 + 2 * torch.randn(50, dim))
        for parameter in made.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    return made.eval()


class TestGroupMixture(SavedModelConformance):
    def make(self, seed: int) -> GroupMixture:
        return GroupMixture(network(MixtureNetwork, self.dim, seed), temperature=0.8)


class TestKnownGroupMixture(SavedModelConformance):
    def make(self, seed: int) -> KnownGroupMixture:
        return KnownGroupMixture(network(KnownMixtureNetwork, self.dim, seed), temperature=0.8)


# -- closed form -------------------------------------------------------------------------------------------------------


def linear_mixture(weights: list[list[float]], shares: list[float], temperature: float = 1.0) -> GroupMixture:
    """Groups with the rewards w_g . y."""
    made = MixtureNetwork(len(weights[0]), MixtureConfig(groups=len(weights), dropout=0.0))
    layer = torch.nn.Linear(len(weights[0]), len(weights))
    made.net = torch.nn.Sequential(layer)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weights))
        layer.bias.zero_()
        made.log_share.copy_(torch.tensor(shares).log() + 2.0)  # free up to a constant
    return GroupMixture(made.eval(), temperature)


WEIGHTS, SHARES, T = [[1.0, -0.5], [-2.0, 0.3], [0.1, 1.5]], [0.5, 0.3, 0.2], 0.7


def test_the_posterior_and_its_predictions_are_bayes_rule() -> None:
    """Against NumPy, with a choice of weight 2.5 and one of weight 0."""
    rng = np.random.default_rng(0)
    won, lost, a, b = rng.normal(size=(4, 5, 2))
    weight = np.array([1.0, 2.5, 0.0, 1.0, 1.0])
    w, pi = np.array(WEIGHTS), np.array(SHARES)
    like = (1 / (1 + np.exp(-(won - lost) @ w.T))) ** weight[:, None]
    share = pi * like.prod(0) / (pi * like.prod(0)).sum()

    model = linear_mixture(WEIGHTS, SHARES, T)
    choices = ChoiceBatch.pairs(torch.tensor(won)[None], torch.tensor(lost)[None])
    state = model.infer(ChoiceBatch(choices.vectors, choices.rank, torch.tensor(weight)[None]))
    assert state.fitted["share"][0].numpy() == pytest.approx(share, abs=1e-6)
    items = torch.tensor(a).float()
    assert model.score(state, items)[0].numpy() == pytest.approx(a @ w.T @ share, abs=1e-5)
    p = (1 / (1 + np.exp(-(a - b) @ w.T / T))) @ share
    assert model.prefer(state, items, torch.tensor(b).float())[0].numpy() == pytest.approx(p, abs=1e-6)
    centred = a @ w.T - (a @ w.T).mean(0)
    doubt = np.sqrt((centred**2) @ share - (centred @ share) ** 2)
    found = model.network.doubt(state.fitted, items)
    assert found is not None
    assert found[0].detach().numpy() == pytest.approx(doubt, abs=1e-5)


def test_without_choices_the_posterior_is_the_shares() -> None:
    model = linear_mixture(WEIGHTS, SHARES)
    state = model.infer(ChoiceBatch.empty(2, 2))
    torch.testing.assert_close(state.fitted["share"], torch.tensor([SHARES, SHARES]))


def test_a_gradient_is_that_of_the_responsibility_weighted_btl() -> None:
    """What makes descending the marginal likelihood EM."""
    model = linear_mixture(WEIGHTS, SHARES).network
    assert isinstance(model, MixtureNetwork)
    generator = torch.Generator().manual_seed(0)
    won, lost = torch.randn(2, 6, 4, 2, generator=generator)
    pairs = Pairs(model.net(won), model.net(lost), torch.ones(6, 4))
    responsibility = model.log_joint(pairs).softmax(-1).detach()
    parameters = list(model.net.parameters())[:1]
    expected = torch.autograd.grad((responsibility * log_likelihood(pairs)).sum(), parameters, retain_graph=True)
    torch.testing.assert_close(
        torch.autograd.grad(model.log_joint(pairs).logsumexp(-1).sum(), parameters), expected, rtol=1e-4, atol=1e-5
    )


# -- fits --------------------------------------------------------------------------------------------------------------

TRAINING = TrainingConfig(
    steps=150, users_per_batch=40, max_context=10, targets=10, learning_rate=0.02, warmup=0.0, validate_every=50,
    threads=1, device="cpu",
)  # fmt: skip
SMALL = MixtureConfig(groups=2, dropout=0.0)
CHOICES = 24


def opposed(users: int, seed: int) -> tuple[ChoiceIndex, Tensor]:
    """Noisy choices of users of two types, one user in three of type 1: opposed on the second number of an item."""
    generator = torch.Generator().manual_seed(seed)
    kind = (torch.arange(users) % 3 == 2).long()
    user = torch.arange(users).repeat_interleave(CHOICES)
    pair = torch.randint(len(ITEMS), (len(user), 2), generator=generator)
    gap = ITEMS[pair[:, 0]] - ITEMS[pair[:, 1]]
    reward = gap[:, 0] + 3 * (1 - 2 * kind[user]) * gap[:, 1]
    first = torch.rand(len(user), generator=generator) < reward.sigmoid()
    items = torch.where(first.unsqueeze(1), pair, pair.flip(1))
    group = torch.arange(len(user)).unsqueeze(1).expand(-1, 2)
    return ChoiceIndex.build(user, items, torch.tensor([0, 1]).expand_as(items), group, n_users=users), kind


ITEMS = torch.randn(300, 3, generator=torch.Generator().manual_seed(0))
TRAIN, TRAIN_KIND = opposed(90, 1)
VALIDATION, _ = opposed(30, 2)
TEST, TEST_KIND = opposed(120, 3)


def every_choice(index: ChoiceIndex, vectors: Tensor) -> ChoiceBatch:
    """All choices of users who have equally many."""
    row = torch.arange(len(index)).reshape(index.n_users, -1)
    return ChoiceBatch(vectors[index.items[row]], index.rank[row], index.weight[row])


def accuracy(model: GroupMixture, context: ChoiceBatch, target: ChoiceBatch) -> float:
    p = model.prefer(model.infer(context), target.vectors[:, :, 0], target.vectors[:, :, 1])
    return ((p > 0.5).float() + 0.5 * (p == 0.5)).mean().item()


def test_em_finds_two_opposed_groups() -> None:
    model = GroupMixture.fit(TRAIN, ITEMS, validation=VALIDATION, config=SMALL, training=TRAINING)
    every = every_choice(TEST, ITEMS)
    found = model.infer(every).fitted["share"].argmax(-1)
    right = (found == TEST_KIND).float().mean().item()
    assert max(right, 1 - right) > 0.97
    shares = model.infer(every.first(0)).fitted["share"][0].sort().values
    assert shares.tolist() == pytest.approx([1 / 3, 2 / 3], abs=0.1)

    context, target = every.first(10), ChoiceBatch(every.vectors[:, 10:], every.rank[:, 10:], every.weight[:, 10:])
    prior, own = accuracy(model, context.first(0), target), accuracy(model, context, target)
    another = accuracy(model, context.of_users(torch.arange(TEST.n_users).roll(1)), target)
    assert own > prior + 0.1, "ten choices do not help"
    assert another < prior + 0.02, "another user's choices help as well"


def test_one_group_learns_nothing_of_anybody() -> None:
    """The control: the same fit without a second group."""
    one = SMALL.model_copy(update={"groups": 1})
    short = TRAINING.model_copy(update={"steps": 50})
    model = GroupMixture.fit(TRAIN, ITEMS, validation=VALIDATION, config=one, training=short)
    every = every_choice(TEST, ITEMS)
    torch.testing.assert_close(model.score(model.infer(every), ITEMS), model.score(model.infer(every.first(0)), ITEMS))


def test_a_fit_is_fixed_by_its_seed() -> None:
    short = TRAINING.model_copy(update={"steps": 5})
    made = [
        GroupMixture.fit(
            TRAIN, ITEMS, validation=VALIDATION, config=SMALL, training=short.model_copy(update={"seed": seed})
        ).fingerprint
        for seed in (0, 0, 1)
    ]
    assert made[0] == made[1] != made[2]


def test_known_groups_keep_their_numbers_and_shares() -> None:
    """Output g is the reward of group g; a user without choices does not shift the labels of the others."""
    users = torch.cat([torch.arange(10), torch.tensor([TRAIN.n_users]), torch.arange(10, TRAIN.n_users)])
    longer = ChoiceIndex.build(
        TRAIN.user, TRAIN.items, TRAIN.rank, TRAIN.group, n_users=TRAIN.n_users + 1, weight=TRAIN.weight
    ).of_users(users)
    labels = torch.cat([TRAIN_KIND[:10], torch.tensor([1]), TRAIN_KIND[10:]])
    model = KnownGroupMixture.fit(longer, ITEMS, groups=labels, validation=VALIDATION, config=SMALL, training=TRAINING)
    every = every_choice(TEST, ITEMS)
    found = model.infer(every).fitted["share"].argmax(-1)
    assert (found == TEST_KIND).float().mean() > 0.97
    assert model.infer(every.first(0)).fitted["share"][0].tolist() == pytest.approx([2 / 3, 1 / 3], abs=1e-6)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (TRAIN_KIND[:-1], "groups of shape"),
        (TRAIN_KIND - 1, "from -1"),
        (2 * TRAIN_KIND, "group 1 has no training user"),
    ],
    ids=["too_few", "negative", "a_gap"],
)
def test_bad_groups_are_refused(labels: Tensor, message: str) -> None:
    with pytest.raises(ChoiceError, match=message):
        KnownGroupMixture.fit(TRAIN, ITEMS, groups=labels, validation=VALIDATION, config=SMALL, training=TRAINING)


def test_em_comes_close_to_bayes_on_the_piecewise_world() -> None:
    world = PiecewiseWorld.generate(0, pairs=4000, users=(200, 60, 400), choices=(40, 40, 40))
    training = TRAINING.model_copy(update={"steps": 250, "targets": 20, "validate_every": 125, "users_per_batch": 64})
    model = GroupMixture.fit(
        world.train.index,
        world.vectors,
        validation=world.validation.index,
        config=SMALL,
        training=training,
    )
    every = every_choice(world.test.index, world.vectors)
    target = ChoiceBatch(every.vectors[:, 10:], every.rank[:, 10:], every.weight[:, 10:])
    for k in (0, 1, 3, 10):
        bayes = bayes_optimal_accuracy(world.test.disagreement, k)
        assert accuracy(model, every.first(k), target) == pytest.approx(bayes, abs=0.025), f"k = {k}"
