"""The pooled reward as a frozen base: a user of whom nothing is known gets it exactly, others move off it."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tacit.baselines import PooledBTL
from tacit.choices import ChoiceIndex
from tacit.episodes import ChoiceBatch
from tacit.errors import ConfigError
from tacit.rewards import RewardConfig, RewardModel, fit_reward
from tacit.rewards.network import Standardizer
from tacit.training import TrainingConfig

TRAINING = TrainingConfig(steps=150, users_per_batch=16, max_context=8, targets=8, threads=1, device="cpu")
CONFIG = RewardConfig.model_validate({"latent": 2, "members": 1, "head": {"hidden": (16,)}, "dropout": 0.1})


def opposed(seed: int, users: int) -> tuple[ChoiceIndex, Tensor]:
    """Users who all like the first number, and the second one or its opposite."""
    vectors = torch.randn(60, 2, generator=torch.Generator().manual_seed(0))
    pairs = torch.randint(60, (users, 20, 2), generator=torch.Generator().manual_seed(seed))
    sign = torch.where(torch.arange(users) % 2 == 0, 1.0, -1.0)
    reward = vectors[:, 0] + 2 * sign[:, None] * vectors[:, 1]
    first = reward.gather(1, pairs[..., 0]) >= reward.gather(1, pairs[..., 1])
    items = torch.where(first.unsqueeze(-1), pairs, pairs.flip(-1)).reshape(-1, 2)
    user = torch.arange(users).repeat_interleave(20)
    return ChoiceIndex.build(user, items, torch.tensor([0, 1]).expand_as(items), items, n_users=users), vectors


@pytest.fixture(scope="module")
def fitted() -> tuple[RewardModel, RewardModel, Tensor]:
    (train, vectors), (validation, _) = opposed(1, 60), opposed(2, 20)
    pooled = PooledBTL.fit(train, vectors, validation=validation, config=CONFIG, training=TRAINING)
    given = {"validation": validation, "config": CONFIG, "training": TRAINING}
    return fit_reward(train, vectors, pooled=pooled, **given), pooled, vectors


def test_a_stranger_gets_the_pooled_reward(fitted: tuple[RewardModel, RewardModel, Tensor]) -> None:
    model, pooled, vectors = fitted
    nobody = ChoiceBatch.empty(1, 2)
    expected = pooled.score(pooled.infer(nobody), vectors) / pooled.temperature
    assert_close(model.score(model.infer(nobody), vectors), expected, rtol=1e-4, atol=1e-5)


def test_choices_move_a_user_off_the_base(fitted: tuple[RewardModel, RewardModel, Tensor]) -> None:
    model, _, vectors = fitted
    order = vectors[:, 1].argsort()
    low, high = vectors[order[:6]], vectors[order[-6:]]
    likes_high = model.infer(ChoiceBatch.pairs(high.unsqueeze(0), low.unsqueeze(0)))
    likes_low = model.infer(ChoiceBatch.pairs(low.unsqueeze(0), high.unsqueeze(0)))
    a, b = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, -1.0]])
    assert model.prefer(likes_high, a, b).item() > 0.8
    assert model.prefer(likes_low, a, b).item() < 0.2


def test_the_base_is_trained_where_none_is_given(fitted: tuple[RewardModel, RewardModel, Tensor]) -> None:
    model, _, vectors = fitted
    (train, _), (validation, _) = opposed(1, 60), opposed(2, 20)
    again = fit_reward(train, vectors, validation=validation, config=CONFIG, training=TRAINING)
    nobody = ChoiceBatch.empty(1, 2)
    assert_close(again.score(again.infer(nobody), vectors), model.score(model.infer(nobody), vectors))


def test_a_base_of_another_shape_is_refused(fitted: tuple[RewardModel, RewardModel, Tensor]) -> None:
    model, _, vectors = fitted
    (train, _), (validation, _) = opposed(1, 60), opposed(2, 20)
    with pytest.raises(ConfigError, match="no bilinear BTL"):
        fit_reward(train, vectors, validation=validation, config=CONFIG, training=TRAINING, pooled=model)


@pytest.mark.parametrize(
    ("settings", "base"),
    [
        ({}, True),
        ({"encoder": "laplace"}, True),
        ({"encoder": "laplace", "base": False}, False),
        ({"encoder": "additive"}, False),
        ({"encoder": "additive", "base": True}, True),
        ({"encoder": "attention"}, False),
        ({"encoder": "none"}, False),
    ],
    ids=str,
)
def test_a_base_is_the_default_of_the_laplace_encoder(settings: dict[str, object], base: bool) -> None:
    config = RewardConfig.model_validate(settings)
    assert config.base is base
    assert RewardConfig.model_validate(config.model_dump()) == config
    assert config.encoder.kind == settings.get("encoder", "laplace")
    assert not config.pooled().base


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"encoder": "attention", "base": True}, "base needs an encoder that reads the reward"),
        ({"encoder": "additive", "base": True, "members": 2}, "whose networks can be joined"),
        ({"encoder": {"components": 2}, "members": 2}, "with one component"),
        ({"base": False, "members": 2}, "needs base = true"),
        ({"encoder": {"kind": "additive", "components": 2}}, "'additive' has no setting components"),
        ({"encoder": {"componets": 2}}, "did you mean components"),
        ({"encoder": "gru"}, "known: additive, attention, laplace, none"),
        ({"head": "mlp"}, "reads the reward of a bilinear head"),
    ],
    ids=str,
)
def test_settings_that_contradict_each_other(settings: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        RewardConfig.model_validate(settings)


def test_principal_components_are_whitened_and_fitted_on_training_items() -> None:
    items = torch.randn(200, 5, generator=torch.Generator().manual_seed(3)) @ torch.diag(
        torch.tensor([5.0, 3.0, 1.0, 0.1, 0.1])
    )
    standardizer = Standardizer(5, 3)
    standardizer.fit(items + 7)
    seen = standardizer(items + 7)
    assert seen.shape == (200, 3)
    assert_close(seen.T @ seen / 200, torch.eye(3), atol=1e-4, rtol=0)
    assert_close(seen.mean(0), torch.zeros(3), atol=1e-4, rtol=0)
    assert (seen[:, 0] * items[:, 0]).mean().abs() > 4.5  # the widest direction comes first


def test_more_components_than_there_are_are_refused() -> None:
    (train, vectors), (validation, _) = opposed(1, 60), opposed(2, 20)
    config = CONFIG.model_copy(update={"principal": 3})
    with pytest.raises(ConfigError, match="principal = 3 components of 60 items of size 2"):
        fit_reward(train, vectors, validation=validation, config=config, training=TRAINING)


def test_a_base_read_by_other_components_is_refused(fitted: tuple[RewardModel, RewardModel, Tensor]) -> None:
    _, pooled, vectors = fitted
    (train, _), (validation, _) = opposed(1, 60), opposed(2, 20)
    config = CONFIG.model_copy(update={"principal": 2})
    with pytest.raises(ConfigError, match="train it with the same settings"):
        fit_reward(train, vectors, validation=validation, config=config, training=TRAINING, pooled=pooled)
