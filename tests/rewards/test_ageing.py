"""The half-life of a choice: found where users change, left out where they do not, kept where it is given."""

from pathlib import Path

import pytest
import torch
from reward_problems import short, small
from torch import Tensor

from tacit.choices import ChoiceIndex
from tacit.errors import ConfigError
from tacit.rewards import RewardConfig, RewardModel, fit_reward
from tacit.rewards.ageing import SPANS, fit_half_life, timed
from tacit.rewards.calibration import fit_temperature, measure
from tacit.rewards.episodic_fit import FitData, fit_data, validation_episodes
from tacit.rewards.network import RewardNetwork
from tacit.testing import random_choices

USERS, CHOICES, DAY = 60, 40, 86_400.0
ITEMS = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
TRAINING = short(max_context=20, targets=10, steps=100)


def users(*, flip: bool, seed: int, time: bool = True) -> ChoiceIndex:
    """One choice a day, mostly by an item's first number: for or against it, for ever or the other way at half-time."""
    g = torch.Generator().manual_seed(seed)
    pairs = torch.stack([torch.randperm(200, generator=g)[: 2 * CHOICES] for _ in range(USERS)]).view(USERS, CHOICES, 2)
    taste = 1.0 - 2.0 * (torch.arange(USERS) % 2).unsqueeze(1).expand(-1, CHOICES)
    day = torch.arange(CHOICES).expand(USERS, -1)
    if flip:
        taste = torch.where(day < CHOICES // 2, taste, -taste)
    gap = 3 * taste * (ITEMS[pairs[..., 0], 0] - ITEMS[pairs[..., 1], 0])
    wins = torch.rand(USERS, CHOICES, generator=g) < gap.sigmoid()
    items = torch.where(wins.unsqueeze(-1), pairs, pairs.flip(-1)).reshape(-1, 2)
    user = torch.arange(USERS).repeat_interleave(CHOICES)
    shuffle = torch.randperm(len(user), generator=g)  # the order of rows says nothing about time
    at = 1.6e9 + DAY * day.reshape(-1).double() if time else torch.full((len(user),), torch.nan, dtype=torch.float64)
    rank = torch.tensor([0, 1]).expand_as(items)
    items = items[shuffle]
    return ChoiceIndex.build(user[shuffle], items, rank, items, n_users=USERS, timestamp=at[shuffle])


STEADY, FLIPPING, UNTIMED = users(flip=False, seed=1), users(flip=True, seed=2), users(flip=False, seed=3, time=False)


def data(validation: ChoiceIndex, choices: ChoiceIndex = STEADY) -> FitData:
    return fit_data(choices, ITEMS, validation=validation)


def planted() -> RewardNetwork:
    """The model that made the choices: r = 3 x z, x being an item's first number."""
    network = RewardNetwork(
        2, RewardConfig.model_validate({"base": False, "latent": 1, "head": {"hidden": ()}, "dropout": 0.0})
    ).eval()
    with torch.no_grad():
        for parameter in network.head.parameters():
            parameter.zero_()
        network.get_parameter("head.net.0.weight")[0, 0] = 3.0
    return network


def in_time_nll(network: RewardNetwork, validation: ChoiceIndex, half_life: float | None) -> float:
    asked = validation_episodes(validation, data(validation).vectors, TRAINING, in_time=True)
    return measure(network, [episode.aged(half_life) for episode in asked])["nll"]


def test_where_tastes_change_old_choices_fade() -> None:
    network = planted()
    found, temperature = fit_half_life(network, data(FLIPPING), TRAINING, "fit")
    assert found is not None
    assert 1 < found / DAY < CHOICES
    assert in_time_nll(network, FLIPPING, found) < in_time_nll(network, FLIPPING, None) - 0.1
    tried = [None, *((CHOICES - 1) * DAY * share for share in SPANS)]
    assert found == min(tried, key=lambda half_life: in_time_nll(network, FLIPPING, half_life))
    asked = validation_episodes(FLIPPING, data(FLIPPING).vectors, TRAINING, in_time=True)
    assert temperature == fit_temperature(network, [episode.aged(found) for episode in asked])


def test_where_tastes_stay_nothing_fades_much() -> None:
    network = planted()
    found, _ = fit_half_life(network, data(users(flip=False, seed=4)), TRAINING, "fit")
    assert found is None or found / DAY > CHOICES / 2
    assert in_time_nll(network, STEADY, 1.0 * DAY) > in_time_nll(network, STEADY, None) + 0.03


@pytest.mark.parametrize(("choices", "validation"), [(STEADY, UNTIMED), (UNTIMED, STEADY)], ids=["asked", "trained"])
def test_without_times_nothing_ages(choices: ChoiceIndex, validation: ChoiceIndex) -> None:
    network, given = planted(), data(validation, choices)
    assert timed(STEADY)
    assert not timed(UNTIMED)
    found, temperature = fit_half_life(network, given, TRAINING, "fit")
    assert found is None
    assert temperature == fit_temperature(network, given.episodes(TRAINING))
    with pytest.raises(ConfigError, match="half_life = 60 ages choices, and some have no time"):
        fit_reward(choices, given.vectors, validation=validation, config=RewardConfig(half_life=60), training=TRAINING)


def test_everything_at_one_moment_has_no_age() -> None:
    at_once = ChoiceIndex.build(
        STEADY.user, STEADY.items, STEADY.rank, STEADY.group, n_users=USERS,
        timestamp=torch.zeros(len(STEADY), dtype=torch.float64),
    )  # fmt: skip
    assert fit_half_life(planted(), data(at_once), TRAINING, "fit")[0] is None


def test_a_number_is_kept_as_it_is() -> None:
    """With the temperature of a model that ages so."""
    network = planted()
    found, temperature = fit_half_life(network, data(STEADY), TRAINING, 0.5 * DAY)
    assert found == 0.5 * DAY
    asked = validation_episodes(STEADY, data(STEADY).vectors, TRAINING, in_time=True)
    assert temperature == fit_temperature(network, [episode.aged(found) for episode in asked])
    assert temperature != fit_temperature(network, asked)


# -- through a fit -----------------------------------------------------------------------------------------------------


def beliefs(model: RewardModel) -> Tensor:
    """Scores for a user who liked one thing first and the opposite forty days later."""
    early, late = random_choices(1, 4, 2, dtype=torch.float32), random_choices(1, 4, 2, seed=1, dtype=torch.float32)
    state = model.prior()
    for batch, day in ((early, 0), (late, 40)):
        time = torch.full((1, 4), 1.6e9 + DAY * day, dtype=torch.float64)
        state = model.update(state, type(batch)(batch.vectors, batch.rank, batch.weight, time))
    return model.score(state, ITEMS)


@pytest.mark.parametrize("config", [{}, {"encoder": "additive"}], ids=["default", "additive"])
def test_a_fitted_half_life_is_part_of_the_model(config: dict[str, str], tmp_path: Path) -> None:
    settings = small(half_life="fit", **config)
    model = fit_reward(STEADY, ITEMS, validation=FLIPPING, config=settings, training=TRAINING)
    assert model.half_life == model.network.config.half_life
    assert isinstance(model.half_life, float)
    assert 1 < model.half_life / DAY < CHOICES
    assert model.prior().half_life == model.half_life
    model.save(tmp_path / "model")
    again = RewardModel.load(tmp_path / "model")
    assert again.half_life == model.half_life
    assert again.temperature == model.temperature
    assert torch.equal(beliefs(again), beliefs(model))
    model.network.config = settings.model_copy(update={"half_life": None})
    assert (beliefs(again) - beliefs(model)).abs().max() > 0.05, "the model does not use what was fitted"


def test_a_fit_without_times_is_a_model_that_does_not_age() -> None:
    settings = {"validation": UNTIMED, "training": TRAINING.model_copy(update={"steps": 5})}
    model = fit_reward(UNTIMED, ITEMS, config=small(half_life="fit"), **settings)
    plain = fit_reward(UNTIMED, ITEMS, config=small(), **settings)
    assert model.half_life is model.network.config.half_life is None
    assert model.temperature == plain.temperature
    with pytest.raises(ConfigError, match="some have no time"):
        fit_reward(UNTIMED, ITEMS, config=small(half_life=60.0), **settings)


def test_a_number_reaches_the_model() -> None:
    settings = {"validation": FLIPPING, "training": TRAINING.model_copy(update={"steps": 5})}
    assert fit_reward(STEADY, ITEMS, config=small(half_life=3.5 * DAY), **settings).half_life == 3.5 * DAY


def test_training_does_not_age_its_contexts() -> None:
    """Weights are those of a model without a half-life; only the temperature is fitted to how it will be used."""
    settings = {"validation": FLIPPING, "training": TRAINING.model_copy(update={"steps": 5})}
    plain, aged = (fit_reward(STEADY, ITEMS, config=small(half_life=half), **settings) for half in (None, 2 * DAY))
    for name, value in plain.network.state_dict().items():
        assert torch.equal(value, aged.network.state_dict()[name]), name
