"""Fitting: personalisation fires where users differ, is reported where they do not, and nothing else is touched."""

import logging
from typing import Any

import pytest
import torch
from reward_problems import PAIRS, Problem, accuracy, batch_of, problem, short, small

from tacit.choices import ChoiceIndex
from tacit.errors import ChoiceError, ConfigError
from tacit.rewards import RewardConfig, RewardModel, fit_reward
from tacit.rewards.fit import _warn_if_inert
from tacit.rewards.network import RewardNetwork
from tacit.training import ObjectiveConfig

DIFFER = problem()
NETWORK = small(encoder=PAIRS)


@pytest.fixture(scope="module")
def pooled() -> RewardModel:
    return fit_reward(**DIFFER.settings(), config=small(encoder="none"), training=short())


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"encoder": "additive", "base": True},
        {"encoder": PAIRS},
        {"encoder": PAIRS | {"variational": False}},
        {"encoder": PAIRS, "head": {"kind": "mlp", "hidden": (16,)}},
        {"encoder": "attention"},
    ],
    ids=["default", "additive on a base", "pairs", "pairs without doubt", "mlp", "attention"],
)
def test_personalisation_fires_where_users_differ(
    config: dict[str, Any], pooled: RewardModel, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        model = fit_reward(**DIFFER.settings(), config=small(**config), training=short())
    assert "inert" not in caplog.text
    assert model.notes["validation_swap_gain"] > 3 * model.notes["validation_swap_gain_error"] > 0
    assert model.notes["validation_active_units"] >= 1
    at = {k: accuracy(model, DIFFER, k) for k in (0, 5)}
    control = accuracy(pooled, DIFFER, 5)
    assert at[5] > at[0] + 0.15
    assert at[5] > control + 0.15
    assert abs(at[0] - control) < 0.1, "a cold start that is no pooled model"


def test_the_elbo_learns_too() -> None:
    model = fit_reward(**DIFFER.settings(), config=NETWORK, training=short(objective={"kind": "elbo"}, steps=200))
    assert accuracy(model, DIFFER, 5) > accuracy(model, DIFFER, 0) + 0.1


def test_accuracy_does_not_fall_far_beyond_the_trained_k() -> None:
    """Trained with at most 2 choices; used with 12."""
    model = fit_reward(**DIFFER.settings(), config=small(), training=short(max_context=2))
    assert accuracy(model, DIFFER, 12) > accuracy(model, DIFFER, 2) - 0.02


def test_inert_personalisation_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    """Users who all want the same: the warning names the numbers, and an event carries them."""
    events: list[dict] = []
    alike = problem(differ=False)
    with caplog.at_level(logging.WARNING, logger="tacit.rewards.fit"):
        fit_reward(**alike.settings(), config=small(), training=short(), on_event=events.append)
    assert "personalisation is inert" in caplog.text
    assert [event["event"] for event in events][-1] == "inert"


@pytest.mark.parametrize(
    ("gain", "error", "active", "users", "said"),
    [
        (0.2, 0.05, 3, 10, ""),
        (0.2, 0.05, 0, 10, "inert"),
        (0.2, 0.15, 3, 10, "unclear"),
        (-0.1, 0.3, 3, 10, "unclear"),
        (0.01, 0.01, 3, 10, "inert"),
        (0.0, 0.0, 3, 10, "inert"),
        (0.0, 0.0, 0, 1, "unclear"),
        (0.01, 0.01, 3, 4, "unclear"),
    ],
)
def test_few_users_are_no_proof_of_inertness(
    gain: float, error: float, active: int, users: int, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A gain that is uncertain by more than would matter is neither there nor absent."""
    events: list[dict] = []
    metrics = {"swap_gain": gain, "swap_gain_error": error, "active_units": active, "swap_users": users}
    _warn_if_inert(metrics, "reward", events.append)
    assert [event["event"] for event in events] == ([said] if said else [])
    words = {"": "", "inert": "personalisation is inert", "unclear": f"{users} validation users are too few"}
    assert words[said] in caplog.text
    assert bool(caplog.text) == bool(said)


def test_a_pooled_model_is_not_called_inert(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        fit_reward(**DIFFER.settings(), config=small(encoder="none"), training=short(steps=2))
    assert not caplog.records


def test_ties_in_the_data_turn_on_the_tie_parameter() -> None:
    tied = problem(ties=True)
    model = fit_reward(**tied.settings(), config=small(), training=short())
    batch = batch_of(tied.test, tied.vectors)
    a, b = batch.vectors[:, 12:, 0], batch.vectors[:, 12:, 1]
    state = model.infer(batch.first(12))
    tie_mass = 1 - model.prefer(state, a, b) - model.prefer(state, b, a)
    was_tie = batch.rank[:, 12:, 1] == 0
    assert model.network.ties
    assert tie_mass[was_tie].mean() > 2 * tie_mass[~was_tie].mean()
    assert not fit_reward(**DIFFER.settings(), config=small(), training=short(steps=1)).network.ties


def test_same_seed_same_model_other_seed_other_model() -> None:
    torch.manual_seed(5)
    first = fit_reward(**DIFFER.settings(), config=small(dropout=0.2), training=short(steps=6))
    torch.manual_seed(6)
    again = fit_reward(**DIFFER.settings(), config=small(dropout=0.2), training=short(steps=6))
    other = fit_reward(**DIFFER.settings(), config=small(dropout=0.2), training=short(steps=6, seed=1))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert first.temperature == again.temperature
    for name, value in first.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[name])


def test_the_global_random_state_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    fit_reward(**DIFFER.settings(), config=small(dropout=0.2), training=short(steps=3))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_items_are_standardised_on_what_training_users_chose_among() -> None:
    """Scaled and shifted vectors give the same model; items that nobody chose among do not count."""
    moved = torch.cat([DIFFER.vectors * torch.tensor([1000.0, 0.01, 1.0]) + 50, torch.full((5, 3), 1e6)])
    settings = {"config": small(), "training": short(steps=20)}
    plain = fit_reward(**DIFFER.settings(), **settings)
    scaled = fit_reward(**(DIFFER.settings() | {"vectors": moved}), **settings)
    used = DIFFER.train.items.unique()
    standard = scaled.network.standardizer(moved[used])
    torch.testing.assert_close(standard.mean(0), torch.zeros(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(standard.std(0, correction=0), torch.ones(3), atol=1e-3, rtol=0)
    batch = batch_of(DIFFER.test, DIFFER.vectors).first(5)
    there = batch_of(DIFFER.test, moved).first(5)
    scores = plain.score(plain.infer(batch), DIFFER.vectors[:20])
    torch.testing.assert_close(scores, scaled.score(scaled.infer(there), moved[:20]), atol=0.02, rtol=0.02)


def test_the_temperature_calibrates() -> None:
    """Choices that are half noise: an over-confident model is cooled towards what validation users do."""
    noisy = problem()
    g = torch.Generator().manual_seed(1)
    flip = torch.rand(len(noisy.validation), generator=g) < 0.4
    validation = noisy.validation
    items = torch.where(flip.unsqueeze(1), validation.items.flip(1), validation.items)
    unsure = ChoiceIndex.build(validation.user, items, validation.rank, validation.group, n_users=validation.n_users)
    settings = noisy.settings() | {"config": small(), "training": short(validate_every=150)}
    sure = fit_reward(**settings)
    doubtful = fit_reward(**(settings | {"validation": unsure}))
    assert doubtful.temperature > 3 * sure.temperature


# -- what is refused ---------------------------------------------------------------------------------------------------


def first_users(index: ChoiceIndex, count: int) -> ChoiceIndex:
    """Only `count` users keep their choices; the others stay as names."""
    return index.select(index.user < count)


@pytest.mark.parametrize("side", ["choices", "validation"])
@pytest.mark.parametrize("count", [0, 1])
def test_too_few_users_are_refused(side: str, count: int) -> None:
    settings = DIFFER.settings()
    settings[side] = first_users(settings[side], count)
    with pytest.raises(ChoiceError, match=rf"{count} {'training' if side == 'choices' else 'validation'} .*at least 2"):
        fit_reward(**settings, config=small(), training=short(steps=1))


def test_vectors_that_do_not_reach_the_last_item_are_refused() -> None:
    with pytest.raises(ChoiceError, match="items up to"):
        fit_reward(**(DIFFER.settings() | {"vectors": DIFFER.vectors[:-4000]}), config=small(), training=short())


def test_validation_users_without_targets_are_refused() -> None:
    """All their choices stand on the context side."""
    settings = DIFFER.settings() | {"target_groups": torch.zeros(len(DIFFER.vectors), dtype=torch.bool)}
    with pytest.raises(ChoiceError, match="no validation user has both"):
        fit_reward(**settings, config=small(), training=short(steps=1, validate_every=1))


def test_target_groups_decide_what_validation_asks() -> None:
    """Targets in which users are contradicted: the best step by them is not a good one elsewhere."""
    groups = torch.zeros(len(DIFFER.vectors), dtype=torch.bool)
    late = DIFFER.validation.group[:, 0] % 24 >= 12
    groups[DIFFER.validation.group[late, 0]] = True
    items = torch.where(late.unsqueeze(1), DIFFER.validation.items.flip(1), DIFFER.validation.items)
    wrong = ChoiceIndex.build(
        DIFFER.validation.user, items, DIFFER.validation.rank, DIFFER.validation.group,
        n_users=DIFFER.validation.n_users,
    )  # fmt: skip
    settings: dict[str, Any] = DIFFER.settings() | {"validation": wrong, "target_groups": groups}
    model = fit_reward(**settings, config=small(), training=short())
    assert model.notes["validation_accuracy"] < 0.4


def test_the_problem_is_what_the_tests_take_it_for() -> None:
    """Half of the pairs are disputed, so nobody who pools can be much better than three in four."""
    assert isinstance(DIFFER, Problem)
    batch = batch_of(DIFFER.test, DIFFER.vectors)
    pooled_reward = batch.vectors[..., 0]
    assert 0.6 < (pooled_reward[..., 0] > pooled_reward[..., 1]).double().mean() < 0.75


def rankings(*, tied: bool) -> ChoiceIndex:
    """Twenty users who rank three items of their own, eight times each, by the item's first number; ties if told."""
    n = 160
    items = torch.arange(3 * n).reshape(n, 3)
    rank = torch.tensor([0, 0, 1] if tied else [0, 1, 2]).expand(n, 3)
    group = torch.arange(n).unsqueeze(1).expand(n, 3)
    return ChoiceIndex.build(torch.arange(20).repeat_interleave(8), items, rank, group, n_users=20)


def test_rankings_train() -> None:
    vectors = torch.randn(480, 3, generator=torch.Generator().manual_seed(0))
    vectors[:, 0] = torch.tensor([1.0, 0.0, -1.0]).repeat(160)
    choices = rankings(tied=False)
    model = fit_reward(choices, vectors, validation=choices, config=small(), training=short(steps=50))
    assert model.notes["validation_accuracy"] > 0.95


def test_ties_inside_rankings_teach_no_tie_parameter() -> None:
    vectors = torch.randn(480, 3, generator=torch.Generator().manual_seed(0))
    choices = rankings(tied=True)
    model = fit_reward(choices, vectors, validation=choices, config=small(), training=short(steps=2))
    assert model.network.log_nu is None
    a, b = vectors[:5], vectors[5:10]
    total = model.prefer(model.prior(), a, b) + model.prefer(model.prior(), b, a)
    torch.testing.assert_close(total, torch.ones_like(total))


def test_a_pooled_model_with_an_mlp_head_is_the_same_for_everybody() -> None:
    config = small(encoder="none", head="mlp")
    network = RewardNetwork(3, config).eval()
    scores = network.head(torch.randn(4, 3), torch.zeros(2, 0))
    assert scores.shape == (2, 4)
    torch.testing.assert_close(scores[0], scores[1])


@pytest.mark.parametrize(
    "config",
    [small(encoder={"kind": "additive", "variational": False}), small()],
    ids=["deterministic", "mixture posterior"],
)
def test_the_elbo_needs_a_gaussian_with_doubt(config: RewardConfig) -> None:
    objective = ObjectiveConfig(kind="elbo")
    with pytest.raises(ConfigError, match="needs a Gaussian posterior"):
        fit_reward(**DIFFER.settings(), config=config, training=short(objective=objective))
