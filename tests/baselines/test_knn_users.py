"""kNN over users: the closed form of the weights, and rewards that explain a new user's choices."""

import numpy as np
import pytest
import torch
from torch import Tensor

from tacit.baselines.knn_users import KNNConfig, KNNNetwork, KNNUsers
from tacit.choices import ChoiceIndex
from tacit.episodes.batch import ChoiceBatch
from tacit.episodes.hashing import step_generator
from tacit.testing import SavedModelConformance
from tacit.training import TrainingConfig


def knn(dim: int, seed: int, *, tau: float = 1.0, neighbours: int | None = None) -> KNNUsers:
    """Ten random training users."""
    network, generator = KNNNetwork(dim, KNNConfig(components=3, neighbours=neighbours), 10), step_generator(seed, 1)
    network.tau.fill_(tau)
    network.standardizer.fit(0.5 + 2 * torch.randn(50, dim, generator=generator))
    network.basis.copy_(torch.randn(network.basis.shape, generator=generator))
    network.table.copy_(torch.randn(network.table.shape, generator=generator))
    return KNNUsers(network.eval(), temperature=0.8)


class TestKNNUsers(SavedModelConformance):
    def make(self, seed: int) -> KNNUsers:
        return knn(self.dim, seed, tau=2.0)


class TestNearestUsers(SavedModelConformance):
    def make(self, seed: int) -> KNNUsers:
        return knn(self.dim, seed, neighbours=3)


# -- closed form -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("neighbours", [None, 1, 4, 10, 99], ids=str)
def test_weights_are_tempered_likelihoods(neighbours: int | None) -> None:
    """Against NumPy, with a choice of weight 2.5 and one of weight 0."""
    model = knn(4, 0, tau=1.7, neighbours=neighbours)
    rng = np.random.default_rng(0)
    won, lost, items = rng.normal(size=(3, 6, 4)).astype(np.float32)
    weight = np.array([1.0, 2.5, 0.0, 1.0, 1.0, 1.0])
    network = model.network
    assert isinstance(network, KNNNetwork)
    basis, table = network.basis.numpy(), network.table.numpy()
    mean, scale = network.standardizer.mean.numpy(), network.standardizer.scale.numpy()
    gap = ((won - lost) / scale) @ basis @ table.T
    fit = (-weight[:, None] * np.log1p(np.exp(-gap))).sum(0)
    kept = fit >= np.sort(fit)[::-1][: neighbours or 10][-1]
    share = kept * np.exp(fit / 1.7) / (kept * np.exp(fit / 1.7)).sum()

    choices = ChoiceBatch.pairs(torch.tensor(won)[None], torch.tensor(lost)[None])
    state = model.infer(ChoiceBatch(choices.vectors, choices.rank, torch.tensor(weight).float()[None]))
    expected = ((items - mean) / scale) @ basis @ table.T @ share
    assert model.score(state, torch.tensor(items))[0].numpy() == pytest.approx(expected, abs=1e-4)
    p = 1 / (1 + np.exp(-(expected - expected[::-1]) / 0.8))
    found = model.prefer(state, torch.tensor(items), torch.tensor(items[::-1].copy()))[0]
    assert found.numpy() == pytest.approx(p, abs=1e-5)


def test_without_choices_everybody_counts_however_few_neighbours_do() -> None:
    """Nobody is likelier than the last, so nobody is left out."""
    model = knn(4, 0, neighbours=2)
    network = model.network
    assert isinstance(network, KNNNetwork)
    found = model.infer(ChoiceBatch.empty(2, 4)).fitted["weight"]
    torch.testing.assert_close(found, network.table.mean(0).expand(2, -1))


# -- fits --------------------------------------------------------------------------------------------------------------

DIM, CHOICES = 12, 30
TRAINING = TrainingConfig(max_context=15, threads=1, device="cpu")


def tasteful(users: int, seed: int) -> tuple[ChoiceIndex, Tensor]:
    """Noisy choices of users who agree on one direction of items and have tastes of their own in two others."""
    generator = torch.Generator().manual_seed(seed)
    taste = torch.zeros(users, DIM)
    taste[:, 0] = 1.5
    taste[:, 1:3] = 3 * torch.randn(users, 2, generator=generator)
    user = torch.arange(users).repeat_interleave(CHOICES)
    pair = torch.randint(len(ITEMS), (len(user), 2), generator=generator)
    reward = ((ITEMS[pair[:, 0]] - ITEMS[pair[:, 1]]) * taste[user]).sum(-1)
    first = torch.rand(len(user), generator=generator) < reward.sigmoid()
    items = torch.where(first.unsqueeze(1), pair, pair.flip(1))
    group = torch.arange(len(user)).unsqueeze(1).expand(-1, 2)
    return ChoiceIndex.build(user, items, torch.tensor([0, 1]).expand_as(items), group, n_users=users), taste


ITEMS = torch.randn(300, DIM, generator=torch.Generator().manual_seed(0)) * torch.linspace(2, 0.5, DIM)
TRAIN, _ = tasteful(150, 1)
VALIDATION, _ = tasteful(40, 2)
TEST, TEST_TASTE = tasteful(80, 3)


def every_choice(index: ChoiceIndex) -> ChoiceBatch:
    """All choices of users who have equally many."""
    row = torch.arange(len(index)).reshape(index.n_users, -1)
    return ChoiceBatch(ITEMS[index.items[row]], index.rank[row], index.weight[row])


def accuracy(model: KNNUsers, context: ChoiceBatch) -> float:
    """Against what test users truly prefer, over fixed pairs of items."""
    reward = TEST_TASTE @ ITEMS.T
    truth = reward[:, :150] > reward[:, 150:]
    return ((model.prefer(model.infer(context), ITEMS[:150], ITEMS[150:]) > 0.5) == truth).float().mean().item()


def fit(precision: float | None = None, tau: float = 1.0, config: KNNConfig | None = None) -> KNNUsers:
    """With the whole choice of precisions and taus, or with one."""
    with pytest.MonkeyPatch.context() as patch:
        if precision is not None:
            patch.setattr("tacit.baselines.knn_users.PRECISIONS", (precision,))
            patch.setattr("tacit.baselines.knn_users.TAUS", (tau,))
        return KNNUsers.fit(TRAIN, ITEMS, validation=VALIDATION, training=TRAINING, config=config)


@pytest.mark.parametrize("neighbours", [None, 15], ids=str)
def test_a_new_user_is_found_among_the_others(neighbours: int | None) -> None:
    model = fit(config=KNNConfig(neighbours=neighbours))
    context = every_choice(TEST).first(15)
    prior, own = accuracy(model, context.first(0)), accuracy(model, context)
    another = accuracy(model, context.of_users(torch.arange(TEST.n_users).roll(1)))
    assert own > prior + 0.12, "fifteen choices do not help"
    assert another < prior + 0.02, "another user's choices help as well"


def test_every_training_user_is_at_the_own_optimum() -> None:
    """The penalised likelihood's gradient vanishes at w_u; w_0 is where precision leaves no room to depart."""
    stiff, loose = fit(1e9), fit(0.5)
    assert isinstance(stiff.network, KNNNetwork)
    assert isinstance(loose.network, KNNNetwork)
    centre, table = stiff.network.table[0], loose.network.table
    torch.testing.assert_close(stiff.network.table, centre.expand_as(table), rtol=0, atol=1e-6)
    choices = every_choice(TRAIN)
    standard = loose.network.standardizer(choices.vectors)
    gap = loose.network.features(standard[:, :, 0] - standard[:, :, 1])
    lost = (-(gap @ table.unsqueeze(-1)).squeeze(-1)).sigmoid()
    gradient = (lost.unsqueeze(-1) * gap).sum(1) - 0.5 * (table - centre)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-4)
    assert (table - centre).norm(dim=-1).min() > 0.1


def test_features_have_unit_size_and_no_correlation() -> None:
    """As many components as vectors have numbers, at most; over training items their mean squared norm is 1."""
    model = fit(1.0)
    network = model.network
    assert isinstance(network, KNNNetwork)
    assert network.config.components == DIM
    assert network.n_users == TRAIN.n_users
    features = network.features(network.standardizer(ITEMS[TRAIN.items.unique()]))
    moments = features.T @ features / len(features)
    torch.testing.assert_close(moments.trace(), torch.ones((), dtype=torch.float64), rtol=1e-5, atol=0)
    torch.testing.assert_close(moments, moments.diag().diag(), rtol=0, atol=1e-6)


def test_precision_and_tau_are_chosen_on_validation() -> None:
    """Better there than a setting off the path."""
    chosen, given = fit(), fit(50.0, 6.0)
    assert isinstance(given.network, KNNNetwork)
    assert (given.notes["precision"], given.notes["tau"], given.network.tau) == (50.0, 6.0, 6.0)
    assert chosen.notes["validation_nll"] < given.notes["validation_nll"]
