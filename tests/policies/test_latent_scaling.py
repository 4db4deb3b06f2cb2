"""What z means to a policy: how long it is taken to be, and what everybody gets beside it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from moved_policy import moved
from policy_problems import Camps, camp_reward, camps, fit, pairs_of, short, weights
from torch import Tensor
from torch.testing import assert_close

from tacit.engines import Base, TransformersEngine
from tacit.episodes.batch import ChoiceBatch
from tacit.errors import ConfigError
from tacit.policies.latent_scaling import reach, set_scales, shared_share, usual
from tacit.policies.teacher import Rewards, Teacher, inferred_rewards
from tacit.rewards import RewardModel
from tacit.steering import Modulator, Site, SteerablePolicy
from tacit.steering.modulators import FiLM, GatedLoRA, GatedLoRAConfig

SITES = (Site("first", 6, 6), Site("second", 6, 6))
KINDS = [FiLM, GatedLoRA]
BRIEF: dict[str, Any] = {"max_steps": 1, "eval_steps": 1}


@pytest.fixture(scope="module")
def world() -> Camps:
    return camps(users=6, choices=6, prompts=16)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def modulator(kind: type[FiLM | GatedLoRA]) -> Modulator:
    made = kind(SITES, 4, kind.config_class.model_validate({}))
    with torch.no_grad():
        for seed, parameter in enumerate(made.parameters()):
            parameter.copy_(normal(*parameter.shape, seed=seed))
    return made


# -- in a modulator ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [1e-3, 0.3, 50.0])
def test_of_z_and_unit_only_the_ratio_counts(kind: type[FiLM | GatedLoRA], scale: float) -> None:
    made, z = modulator(kind), normal(3, 4, seed=9)
    plain = made.signal(z)
    assert torch.equal(plain, made.respond(z)), "the unit is 1 until training sets it"
    made.unit.fill_(scale)
    assert_close(made.signal(scale * z), plain, rtol=1e-5, atol=1e-5)
    assert (made.signal(z) - plain).abs().max() > 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_scales_are_kept_with_the_weights_but_are_none_to_train(kind: type[FiLM | GatedLoRA]) -> None:
    made = modulator(kind)
    for name in ("unit", "power", "everybody"):
        assert made.state_dict()[name].item() == 1
        assert name not in dict(made.named_parameters())
    assert made.parameter_count() == sum(parameter.numel() for parameter in made.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_of_a_length_a_power_remains(kind: type[FiLM | GatedLoRA]) -> None:
    """4 units are taken for 4^(1/2); a direction stays, and nothing stays nothing."""
    made, z = modulator(kind), normal(3, 4, seed=9)
    made.unit.fill_(0.3)
    one = 0.3 * 4**0.5 * z / z.norm(dim=1, keepdim=True)
    expected, nothing = made.signal(2 * one), made.signal(0 * z)
    made.power.fill_(0.5)
    assert_close(made.signal(4 * one), expected, rtol=1e-5, atol=1e-5)
    assert (made.signal(2 * one) - expected).abs().max() > 0.1
    assert torch.equal(made.signal(0 * z), nothing)
    assert_close(made.signal(1e-9 * z), nothing, rtol=1e-5, atol=1e-5)


def test_what_everybody_gets_is_weighed() -> None:
    """Half of it, and z as before."""
    made, z = modulator(GatedLoRA), normal(3, 4, seed=9)
    personal = made.signal(z) - made.signal(0 * z)
    everybody = made.signal(0 * z)
    made.everybody.fill_(0.5)
    assert_close(made.signal(0 * z), everybody / 2)
    assert_close(made.signal(z), everybody / 2 + personal)


def test_what_everybody_gets_is_weighed_in_film_too() -> None:
    made, z = modulator(FiLM), normal(3, 4, seed=9)
    everybody, personal = made.signal(0 * z), made.signal(z) - made.signal(0 * z)
    made.everybody.fill_(0.5)
    assert_close(made.signal(z), everybody / 2 + personal)


@pytest.mark.parametrize("name", ["unit", "power", "everybody"])
def test_a_user_folds_with_the_scales(name: str) -> None:
    """A user's ordinary LoRA knows no z, so it must have been taken into account before."""
    made = GatedLoRA(SITES, 4, GatedLoRAConfig(rank=3), generator=torch.Generator().manual_seed(1))
    z, inputs = 3 * normal(1, 4, seed=9), normal(1, 5, 6)
    for up in made.up:
        up.data.copy_(normal(*up.shape, seed=2))
    made.get_buffer(name).fill_(0.2)
    down, up = made.fold(z[0])["first"]
    live = made.change(0, inputs, torch.zeros(1, 5, 6), made.signal(z)[0])
    assert_close((inputs @ down.T) @ up.T, live, rtol=1e-4, atol=1e-5)
    made.get_buffer(name).fill_(1)
    assert (made.fold(z[0])["first"][1] - up).abs().max() > 0.1


# -- what is measured --------------------------------------------------------------------------------------------------


def lengths(count: int = 400, latent: int = 5) -> Tensor:
    """Z of quite different lengths."""
    z = normal(count, latent, seed=1)
    return z / z.norm(dim=1, keepdim=True) * torch.rand(count, 1, generator=torch.Generator().manual_seed(2)) * 3


@pytest.mark.parametrize("power", [1.0, 0.8, 0.6])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_drawn_is_brought_to_the_length_of_what_is_known(kind: type[FiLM | GatedLoRA], power: float) -> None:
    """And a z of the usual length, as training has it, stays as long as it is."""
    drawn = 0.07 * lengths()
    made = kind(SITES, 5, kind.config_class.model_validate({}))
    made.unit.fill_(0.05)
    usual_length = 0.05 * 5**0.5
    known = (drawn.norm(dim=1, keepdim=True) / usual_length) ** (power - 1) * drawn
    made.power.fill_(reach(drawn, known, 0.05))
    assert made.power.item() == pytest.approx(power, abs=1e-6)
    seen: list[Tensor] = []
    made.respond = lambda z: seen.append(z) or z  # type: ignore[method-assign]
    made.signal(drawn)
    assert_close(seen[0], known / 0.05, rtol=1e-4, atol=1e-4)
    one = drawn[:1] / drawn[:1].norm() * usual_length
    made.signal(one)
    assert_close(seen[1], one / 0.05)


def test_short_contexts_of_long_z_are_stretched_and_those_of_a_gaussian_are_not() -> None:
    """Observations with noise as large as z itself, of which 1 to 20 are seen; posterior means under N(0, I)."""
    k = torch.randint(1, 21, (4000, 1), generator=torch.Generator().manual_seed(7))
    gaussian = normal(4000, 5, seed=8)
    sphere = 5**0.5 * gaussian / gaussian.norm(dim=1, keepdim=True)
    found = []
    for z in (gaussian, sphere):
        seen = z + 3 * normal(4000, 5, seed=9) / k.sqrt()
        found.append(reach(seen * k / (k + 9), z, usual(z)))
    assert found[0] > 0.9
    assert found[1] < found[0] - 0.02


def test_noise_about_what_is_known_changes_nothing() -> None:
    """The regression of what is known on what is drawn, not the reverse."""
    drawn = lengths()
    assert reach(drawn, drawn + 0.5 * normal(400, 5, seed=4), usual(drawn)) == pytest.approx(1, abs=0.1)


def test_where_nothing_is_drawn_only_the_size_counts() -> None:
    known = lengths()
    assert reach(torch.zeros(400, 5), known, usual(known)) == 1
    assert reach(torch.zeros(3, 5), torch.zeros(3, 5), 1.0) == 1
    assert reach(torch.zeros(3, 0), torch.zeros(3, 0), 1.0) == 1
    assert usual(torch.zeros(3, 5)) == usual(torch.zeros(3, 0)) == 1


def test_what_users_agree_on_is_a_share_of_how_they_differ() -> None:
    """Worked out from all answers to all prompts, some of which have fewer."""
    items = [(f"q{number % 7}", f"answer {number}") for number in range(40)]
    used = torch.arange(40) != 11
    shared, own = 0.4 * normal(40, seed=1), normal(30, 40, seed=2)
    teacher = Teacher.build(items, used, lambda users, answers, z: shared[answers] + own[users][:, answers[0]],
                            compared=2)  # fmt: skip
    agreed, different = [], []
    for prompt in range(7):
        ids = [number for number in range(40) if number % 7 == prompt and number != 11]
        rewards = (shared + own)[:, ids].double()
        rewards = rewards - rewards.mean(1, keepdim=True)
        agreed.append(rewards.mean(0).square().mean())
        different.append((rewards - rewards.mean(0)).square().mean())
    expected = (sum(agreed) / sum(different) - 1 / 29) ** 0.5
    assert shared_share(teacher, torch.arange(30), torch.zeros(30, 2)) == pytest.approx(float(expected), rel=1e-5)
    assert 0.2 < expected < 0.8


@pytest.mark.parametrize("users", [6, 40])
def test_what_a_few_users_agree_on_by_chance_is_not_shared(users: int) -> None:
    own, items = normal(users, 400, seed=2), [(f"q{number % 50}", f"answer {number}") for number in range(400)]
    teacher = Teacher.build(items, torch.ones(400, dtype=torch.bool),
                            lambda users, answers, z: own[users][:, answers[0]], compared=2)  # fmt: skip
    assert shared_share(teacher, torch.arange(users), torch.zeros(users, 2)) < 0.15


@pytest.mark.parametrize("value", [0.0, 5.0])
def test_where_nobody_differs_everybody_counts_fully(value: float) -> None:
    teacher = Teacher.build([("q", "a"), ("q", "b")], torch.ones(2, dtype=torch.bool),
                            lambda users, answers, z: value * answers.float(), compared=2)  # fmt: skip
    assert shared_share(teacher, torch.arange(4), torch.zeros(4, 2)) == 1


def test_rewards_that_are_no_numbers_are_refused(shared_base: Base, world: Camps, tmp_path: Path) -> None:
    nothing: Rewards = lambda users, items, z: torch.full(items.shape, torch.nan)  # noqa: E731
    with pytest.raises(ConfigError, match="rewards of the known answers are not finite") as caught:
        fit(shared_base, tmp_path, world, training=short(**BRIEF, teacher="reward"), rewards=(nothing, nothing))
    assert "\n" not in str(caught.value)


def test_users_without_choices_say_nothing(shared_base: Base, world: Camps) -> None:
    """Such as those of the other split, whose numbers training keeps."""
    some = world.train.select(world.train.user % 2 == 0)
    asked: list[Tensor] = []

    def rewards(users: Tensor, answers: Tensor, z: Tensor) -> Tensor:
        asked.append(users)
        return answers.float() * (1 + users.unsqueeze(1))

    teacher = Teacher.build(world.items, torch.ones(len(world.items), dtype=torch.bool), rewards, compared=2)
    pairs, made = pairs_of(shared_base, some, world.items, world.vectors), GatedLoRA(SITES, 4, GatedLoRAConfig())
    set_scales(made, pairs, normal(world.train.n_users, 4), teacher)
    assert some.n_users == 6
    assert torch.cat(asked).unique().tolist() == [0, 2, 4]


# -- in a policy -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["unit", "power", "everybody"])
def test_a_saved_policy_comes_back_with_its_scales(base: Base, reward: RewardModel, tmp_path: Path, name: str) -> None:
    policy, z, items = moved(SteerablePolicy.new(base, reward)), normal(2, 4), [("What?", "a cat"), ("Q", "x")]
    policy.modulator.get_buffer(name).fill_(0.3)
    policy.save(tmp_path / "policy")
    again = SteerablePolicy.load(tmp_path / "policy")
    assert again.modulator.get_buffer(name).item() == pytest.approx(0.3)
    expected = TransformersEngine(base, policy).log_probs(items, z)
    engine = TransformersEngine(base, again)
    assert torch.equal(engine.log_probs(items, z), expected)
    again.modulator.get_buffer(name).fill_(1)
    assert (engine.log_probs(items, z) - expected).abs().max() > 0.01


@pytest.mark.parametrize("teacher", ["choices", "reward"])
def test_training_measures_its_own_z(shared_base: Base, world: Camps, tmp_path: Path, teacher: str) -> None:
    policy = fit(shared_base, tmp_path, world, training=short(**BRIEF, teacher=teacher))
    pairs, reward = pairs_of(shared_base, world.train, world.items, world.vectors), camp_reward()
    items = world.vectors[world.train.items].view(world.train.n_users, -1, 2, world.vectors.shape[1])
    known = reward.posterior(reward.infer(ChoiceBatch.pairs(items[:, :, 0], items[:, :, 1]))).mean
    own = known[world.train.user[pairs.choice]]
    unit = own.double().square().mean().sqrt().item()
    assert policy.modulator.unit.item() == pytest.approx(unit, rel=1e-4)
    assert policy.modulator.power.item() == pytest.approx(reach(pairs.latents(torch.arange(len(pairs)), 0), own, unit))
    assert 0.01 < unit < 0.9, "hardly different from 1"
    users, inferred = torch.arange(world.train.n_users), inferred_rewards(reward, world.vectors)
    rewards = inferred(users, torch.arange(len(world.items)).expand(len(users), -1), known)[
        :, world.train.items.unique()
    ]
    assert policy.modulator.everybody.item() == pytest.approx(max(0.05, _agreed(rewards, world)), rel=1e-4)
    assert policy.modulator.everybody.item() < 1


def _agreed(rewards: Tensor, world: Camps) -> float:
    """Rewards Float[users items] of the items of training choices."""
    prompts = [world.items[item][0] for item in world.train.items.unique().tolist()]
    parts = []
    for prompt in set(prompts):
        some = rewards[:, [number for number, one in enumerate(prompts) if one == prompt]].double()
        some = some - some.mean(1, keepdim=True)
        if some.shape[1] > 1:
            parts.append((float(some.mean(0).square().mean()), float((some - some.mean(0)).square().mean())))
    users = len(rewards)
    return max(0, sum(shared for shared, _ in parts) / sum(own for _, own in parts) - 1 / (users - 1)) ** 0.5


def test_of_very_many_pairs_some_from_everywhere_say_what_is_usual(
    shared_base: Base, world: Camps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tacit.policies.latent_scaling._SOME", 10)
    told = torch.arange(1.0, 7).unsqueeze(1)
    policy = fit(shared_base, tmp_path, world, training=short(**BRIEF), told=(told, torch.ones(8, 1)))
    taken = told[world.train.user[torch.arange(0, 36, 4)]]
    assert policy.modulator.unit.item() == pytest.approx(taken.square().mean().sqrt().item(), rel=1e-5)
    assert policy.modulator.power.item() == 1, "told tastes are as long as they should be"
    assert policy.modulator.everybody.item() == 1


def test_how_long_a_told_z_is_does_not_matter(shared_base: Base, world: Camps, tmp_path: Path) -> None:
    """An eighth as long, by a power of two that rounds nothing: the same weights bit for bit."""
    told = 0.5 * normal(world.train.n_users, 3), 0.5 * normal(world.validation.n_users, 3, seed=1)
    plain, small = (
        fit(shared_base, tmp_path / str(scale), world, told=(scale * told[0], scale * told[1])) for scale in (1, 1 / 8)
    )
    assert plain.modulator.unit.item() == pytest.approx(told[0].square().mean().sqrt().item(), rel=1e-5)
    assert torch.equal(plain.modulator.unit, 8 * small.modulator.unit)
    assert torch.equal(weights(plain), weights(small))
    assert plain.notes["validation_loss"] == small.notes["validation_loss"]
    assert weights(plain).abs().max() > 0


def test_where_every_z_is_zero_the_unit_is_one(shared_base: Base, world: Camps, tmp_path: Path) -> None:
    told = torch.zeros(world.train.n_users, 3), torch.zeros(world.validation.n_users, 3)
    policy = fit(shared_base, tmp_path, world, training=short(**BRIEF), told=told)
    assert policy.modulator.unit.item() == 1
    assert bool(weights(policy).isfinite().all())
