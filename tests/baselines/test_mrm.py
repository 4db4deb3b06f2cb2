"""MRM: it keeps the contract, its inner step and meta-gradient are right, adaptation-off is itself, it learns users."""

from typing import Any

import torch
from low_rank_users import ITEMS, contexts, correlation, planted
from torch import Tensor
from torch.testing import assert_close

from tacit.baselines.mrm import MRM, PUBLISHED_INNER, MRMConfig, MRMNetwork, robust_objective
from tacit.baselines.pairs import pairs_of
from tacit.episodes import ChoiceBatch
from tacit.episodes.episode import Episode
from tacit.rewards.episodic_fit import seeded_modules
from tacit.testing import SavedModelConformance, random_choices
from tacit.training import ObjectiveConfig, TrainingConfig

TRAINING = TrainingConfig(
    steps=250, users_per_batch=64, learning_rate=0.02, validate_every=100, threads=1, device="cpu"
)  # fmt: skip


def network(seed: int = 0, dim: int = 4, **config: Any) -> MRMNetwork:
    """Untrained, its basis large enough to matter."""
    with seeded_modules(seed), torch.no_grad():
        made = MRMNetwork(dim, MRMConfig.model_validate({"rank": 3, **config}))
        made.basis.mul_(5)
        made.standardizer.fit(0.5 + 2 * torch.randn(50, dim))
    return made.eval()


class TestMRM(SavedModelConformance):
    def make(self, seed: int) -> MRM:
        return MRM(network(seed, self.dim), temperature=0.8)


class TestMRMAdaptationOff(SavedModelConformance):
    personal = False

    def make(self, seed: int) -> MRM:
        return MRM(network(seed, self.dim, inner_lr=0.0), temperature=0.8)


def test_one_inner_step_is_the_hand_computed_one() -> None:
    """Two basis rewards, one choice: with s = sigmoid(w1 - w2) and gaps a, b, dL/dw1 = -p_wrong s (1 - s) (a - b)."""
    mrm = network(dim=2, rank=2, inner_lr=0.7, inner_steps=1)
    with torch.no_grad():
        mrm.basis.copy_(torch.eye(2))
        mrm.start.copy_(torch.tensor([0.3, -0.1]))
    a, b = 1.5, -0.4
    choice = ChoiceBatch(torch.tensor([[[[a, b], [0.0, 0.0]]]]), torch.tensor([[[0, 1]]]), torch.ones(1, 1))
    s = torch.sigmoid(torch.tensor(0.3 + 0.1))
    wrong = torch.sigmoid(-(s * a + (1 - s) * b))
    move = 0.7 * wrong * s * (1 - s) * (a - b)
    expected = torch.stack([0.3 + move, -0.1 - move])
    assert_close(mrm.adapted(pairs_of(choice))[0].detach(), expected)
    twice = ChoiceBatch(
        choice.vectors, choice.rank, torch.full((1, 1), 2.0)
    )  # the mean over choices: k does not matter
    assert_close(mrm.adapted(pairs_of(twice))[0].detach(), expected)


def meta_loss(mrm: MRMNetwork, episode: Episode) -> Tensor:
    return mrm.loss(episode, ObjectiveConfig(), None)


def test_the_meta_gradient_matches_finite_differences() -> None:
    """Second order: it differs from the gradient that treats the inner slopes as constants."""
    mrm = network(inner_lr=2.0, inner_steps=3).double()
    context, target = random_choices(5, 4, 4, seed=1), random_choices(5, 6, 4, seed=2)
    episode = Episode.of(context, target)
    meta_loss(mrm, episode).backward()
    for parameter in (mrm.basis, mrm.start):
        assert parameter.grad is not None
        numeric = torch.zeros_like(parameter)
        for at in range(parameter.numel()):
            values = []
            for sign in (1, -1):
                with torch.no_grad():
                    parameter.view(-1)[at] += sign * 1e-5
                    values.append(meta_loss(mrm, episode).item())
                    parameter.view(-1)[at] -= sign * 1e-5
            numeric.view(-1)[at] = (values[0] - values[1]) / 2e-5
        assert_close(parameter.grad, numeric, rtol=1e-5, atol=1e-8)
    first_order = torch.autograd.grad(target_loss_at_constant_steps(mrm, episode), mrm.start)[0]
    assert (first_order - mrm.start.grad).abs().max() > 1e-3  # type: ignore[operator]


def target_loss_at_constant_steps(mrm: MRMNetwork, episode: Episode) -> Tensor:
    """First-order MAML: what a step adds to the start is a constant."""
    move = (mrm.adapted(pairs_of(episode.context)) - mrm.start).detach()
    target = pairs_of(episode.target)
    gaps = target.difference @ mrm.basis.mT
    log_p = (gaps @ (mrm.start + move).softmax(-1).unsqueeze(-1)).squeeze(-1).sigmoid().log()
    return robust_objective(-log_p.mean(-1), tail=0.5, gamma=0.5)


def test_hard_users_count_more() -> None:
    losses = torch.tensor([0.2, 0.6, 1.0], requires_grad=True)
    value = robust_objective(losses, tail=0.5, gamma=0.5)
    weights = torch.sigmoid((losses.detach() - 0.6) / 0.5)
    assert_close(value.detach(), (weights * losses.detach()).mean())
    assert_close(weights[1].item(), 0.5)


def test_without_steps_or_rate_it_is_its_own_adaptation_off() -> None:
    """Bit for bit the shared start, whatever the user chose; the published step is all but that."""
    choices, items = random_choices(3, 5, 4, dtype=torch.float32), torch.randn(6, 4)
    start = MRM(network()).infer(ChoiceBatch.empty(3, 4)).fitted["mixture"]
    for made in (network(inner_lr=0.0), network(inner_steps=0)):
        model = MRM(made)
        assert torch.equal(model.infer(choices).fitted["mixture"], start)
        assert torch.equal(model.score(model.infer(choices), items), model.score(model.infer(choices.first(0)), items))
    published = (
        MRM(network(inner_lr=PUBLISHED_INNER["inner_lr"], inner_steps=PUBLISHED_INNER["inner_steps"]))
        .infer(choices)
        .fitted["mixture"]
    )
    assert 0 < (published - start).abs().max() < 1e-3
    assert (MRM(network()).infer(choices).fitted["mixture"] - start).abs().max() > 0.05


def test_an_episode_without_targets_costs_nothing() -> None:
    mrm, nothing = network(), ChoiceBatch.empty(2, 4)
    loss = meta_loss(mrm, Episode.of(nothing, nothing))
    loss.backward()
    assert loss.item() == 0


def test_it_learns_to_adapt() -> None:
    """New users' rewards come nearer the truth with their own choices, not with another user's."""
    (train, _), (validation, _), (test, truth) = planted(150, 0), planted(30, 1), planted(40, 2)
    config = MRMConfig(rank=3)
    model = MRM.fit(train, ITEMS, validation=validation, config=config, training=TRAINING)
    own, cold = (model.score(model.infer(contexts(test, k)), ITEMS) for k in (20, 0))
    near, prior, other = (correlation(x, truth).mean().item() for x in (own, cold, own.roll(1, 0)))
    assert near > prior + 0.2
    assert other < prior
