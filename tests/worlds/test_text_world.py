import time

import numpy as np
import pytest
import torch

from tacit.errors import ConfigError
from tacit.worlds.text import ATTRIBUTES, TextWorld, calibrate_scale, draw_directions, draw_pairs


@pytest.fixture(scope="module")
def world():
    return TextWorld.generate(0, n_prompts=40, responses_per_prompt=8, n_users=400, choices_per_user=30)


def test_attributes_are_standardised_and_nearly_independent(world):
    assert world.attributes.shape == (320, len(ATTRIBUTES))
    torch.testing.assert_close(world.attributes.mean(0), torch.zeros(5), atol=1e-5, rtol=0)
    torch.testing.assert_close(world.attributes.std(0, correction=0), torch.ones(5), atol=1e-5, rtol=0)
    correlation = torch.corrcoef(world.attributes.T) - torch.eye(5)
    assert correlation[1:, 1:].abs().max() < 0.2
    assert correlation.abs().max() < 0.6  # jokes make answers longer


def test_length_is_measured_on_the_text(world):
    words = torch.tensor([len(response.split()) for _, response in world.items], dtype=torch.float64).log()
    expected = (words - words.mean()) / words.std(correction=0)
    torch.testing.assert_close(world.attributes[:, 0].double(), expected, atol=1e-5, rtol=0)


def test_items_are_distinct_and_stand_by_prompt(world):
    assert len(set(world.items)) == len(world.items)
    assert [world.prompts[p] for p in world.prompt_of] == [prompt for prompt, _ in world.items]


def test_choices_are_between_responses_to_one_prompt(world):
    chosen, rejected = world.pairs.unbind(-1)
    assert (world.prompt_of[chosen] == world.prompt_of[rejected]).all()
    assert (chosen != rejected).all()
    prompts = world.prompt_of[chosen].sort(dim=1).values
    assert (prompts.diff(dim=1) > 0).all()  # 30 choices over 40 prompts: none twice


@pytest.mark.parametrize("users", ["sphere", "discrete"])
@pytest.mark.parametrize("seed", [1, 2])
def test_oracle_foresees_85_to_90_percent(users, seed):
    world = TextWorld.generate(seed, responses_per_prompt=4, n_users=1_000, choices_per_user=20, users=users)
    assert 0.85 <= world.oracle_accuracy() <= 0.90


def test_noise_follows_the_asked_accuracy():
    world = TextWorld.generate(0, responses_per_prompt=4, n_users=1_000, oracle_accuracy=0.7)
    assert world.oracle_accuracy() == pytest.approx(0.7, abs=0.02)


def test_choices_follow_btl(world):
    rewards = world.rewards()
    win = rewards.gather(1, world.pairs[..., 0])
    lose = rewards.gather(1, world.pairs[..., 1])
    size = (win - lose).abs()
    foreseen = (win > lose).float()
    for low, high in ((0.0, 1.0), (1.0, 2.0), (2.0, 4.0)):
        here = (size >= low) & (size < high)
        assert foreseen[here].mean().item() == pytest.approx(torch.sigmoid(size[here]).mean().item(), abs=0.03)


def test_weights_lie_on_a_sphere_around_nobody(world):
    norm = world.weights.norm(dim=1)
    torch.testing.assert_close(norm, torch.full_like(norm, world.scale))
    assert (world.weights.mean(0).norm() / world.scale).item() < 0.15


def test_rewards_of_chosen_users_and_items(world):
    users, items = torch.tensor([3, 0]), torch.tensor([5, 9, 2])
    torch.testing.assert_close(world.rewards(users, items), world.rewards()[users][:, items])


def test_table_holds_the_same_choices(world):
    table = world.table
    assert len(table) == 400 * 30
    first, index = next(iter(world.choices())), table.index()
    assert table[0] == first
    assert first.user_id == world.user_id(0)
    ids = world.locate(table.item_texts())
    by_row = torch.empty_like(index.items)
    by_row[index.row] = ids[index.items]
    assert torch.equal(by_row, world.pairs.reshape(-1, 2))


def test_one_seed_decides_everything_and_texts_do_not_depend_on_users():
    sizes = {"n_prompts": 20, "responses_per_prompt": 4}
    a, b = (TextWorld.generate(5, n_users=30, **sizes) for _ in range(2))
    other = TextWorld.generate(5, n_users=7, choices_per_user=3, **sizes)
    assert a.items == b.items == other.items
    assert torch.equal(a.pairs, b.pairs)
    assert torch.equal(a.weights[:7], other.weights)
    assert TextWorld.generate(6, n_users=30, **sizes).items != a.items


def test_many_choices_over_few_prompts_repeat_no_pair():
    pairs = draw_pairs(50, 18, 3, 4, np.random.default_rng(0))
    for user in np.sort(pairs, axis=-1):
        assert len({tuple(pair) for pair in user}) == 18


def test_discrete_users_care_for_one_attribute():
    weights = draw_directions("discrete", 400, 5, np.random.default_rng(0))
    assert ((weights != 0).sum(1) == 1).all()
    assert len({tuple(w) for w in weights}) == 10


def test_calibration_solves_its_equation():
    margins = np.random.default_rng(0).normal(size=5_000)
    scale = calibrate_scale(margins, 0.8)
    assert np.mean(1 / (1 + np.exp(-scale * np.abs(margins)))) == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_prompts": 131}, "n_prompts is 131"),
        ({"responses_per_prompt": 1}, "responses_per_prompt is 1"),
        ({"n_users": 0}, "n_users is 0"),
        ({"choices_per_user": 0}, "choices_per_user is 0"),
        ({"oracle_accuracy": 1.0}, "oracle accuracy is 1.0"),
        ({"oracle_accuracy": 0.97, "users": "discrete"}, "0.97 is out of reach"),
        ({"users": "plane"}, "users is 'plane'"),
        ({"n_prompts": 2, "responses_per_prompt": 2, "choices_per_user": 3}, "choices_per_user is 3"),
    ],
)
def test_bad_settings_are_one_line(settings, message):
    with pytest.raises(ConfigError, match=message) as error:
        TextWorld.generate(0, **{"n_prompts": 5, "responses_per_prompt": 3, "n_users": 5} | settings)
    assert "\n" not in str(error.value)


def test_generation_is_fast():
    start = time.process_time()
    TextWorld.generate(0, n_users=2_000, choices_per_user=30)
    assert time.process_time() - start < 3.0


def test_further_choices_are_on_the_given_prompts_and_follow_btl(world):
    prompts = torch.tensor([3, 30, 7, 12])
    pairs = world.draw_choices(world.weights, prompts, 60, np.random.default_rng(1))
    assert pairs.shape == (400, 60, 2)
    assert set(world.prompt_of[pairs].unique().tolist()) == {3, 7, 12, 30}
    assert (world.prompt_of[pairs[..., 0]] == world.prompt_of[pairs[..., 1]]).all()
    for user in pairs[:20].sort(dim=-1).values.tolist():
        assert len({tuple(pair) for pair in user}) == 60
    gap = (world.rewards().gather(1, pairs[..., 0]) - world.rewards().gather(1, pairs[..., 1])).flatten()
    for low, high in ((0.0, 1.0), (1.0, 2.0), (2.0, 4.0)):
        here = (gap.abs() >= low) & (gap.abs() < high)
        expected = torch.sigmoid(gap[here].abs()).mean().item()
        assert (gap[here] > 0).float().mean().item() == pytest.approx(expected, abs=0.03)


def test_tastes_may_move_from_choice_to_choice(world):
    prompts, rng = torch.arange(40), np.random.default_rng
    still = world.weights.unsqueeze(1).expand(-1, 30, -1)
    moving = 50 * torch.cat([still[:, :15], -still[:, 15:]], dim=1)
    same = world.draw_choices(world.weights, prompts, 30, rng(2))
    assert torch.equal(world.draw_choices(still, prompts, 30, rng(2)), same)
    pairs = world.draw_choices(moving, prompts, 30, rng(2))
    ahead = world.rewards().gather(1, pairs[..., 0]) > world.rewards().gather(1, pairs[..., 1])
    assert ahead[:, :15].float().mean() > 0.97
    assert ahead[:, 15:].float().mean() < 0.03
