"""What counts as one in every z: as long as the z of training usually are, and part of a policy ever after."""

from pathlib import Path
from typing import Any

import pytest
import torch
from moved_policy import moved
from policy_problems import Camps, camps, fit, pairs_of, short, weights
from torch import Tensor
from torch.testing import assert_close

from tacit.policies import Base, Modulator, SteerablePolicy
from tacit.policies.modulators import FiLM, GatedLoRA, Site
from tacit.rewards import RewardModel

SITES = (Site("first", 6, 6), Site("second", 6, 6))
KINDS = [FiLM, GatedLoRA]
BRIEF: dict[str, Any] = {"max_steps": 1, "eval_steps": 1}


@pytest.fixture(scope="module")
def world() -> Camps:
    return camps(users=6, choices=6, prompts=16)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def modulator(kind: type[FiLM | GatedLoRA]) -> Modulator:
    made = kind(SITES, 4)
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
def test_the_unit_is_kept_with_the_weights_but_is_none_to_train(kind: type[FiLM | GatedLoRA]) -> None:
    made = modulator(kind)
    assert made.state_dict()["unit"].item() == 1
    assert "unit" not in dict(made.named_parameters())
    assert made.parameter_count() == sum(parameter.numel() for parameter in made.parameters())


def test_a_user_folds_with_the_unit() -> None:
    """A user's ordinary LoRA knows no z, so it must have been taken into account before."""
    made, z, inputs = GatedLoRA(SITES, 4, rank=3), normal(1, 4, seed=9), normal(1, 5, 6)
    for up in made.up:
        up.data.copy_(normal(*up.shape, seed=2))
    made.unit.fill_(0.2)
    down, up = made.fold(z[0])["first"]
    live = made.change(0, inputs, torch.zeros(1, 5, 6), made.signal(z)[0])
    assert_close((inputs @ down.T) @ up.T, live, rtol=1e-4, atol=1e-5)
    made.unit.fill_(1)
    assert (made.fold(z[0])["first"][1] - up).abs().max() > 0.1


# -- in a policy -------------------------------------------------------------------------------------------------------


def test_a_saved_policy_comes_back_with_its_unit(base: Base, reward: RewardModel, tmp_path: Path) -> None:
    policy, z, items = moved(SteerablePolicy.new(base, reward)), normal(2, 4), [("What?", "a cat"), ("Q", "x")]
    policy.modulator.unit.fill_(0.3)
    policy.save(tmp_path / "policy")
    again = SteerablePolicy.load(tmp_path / "policy")
    assert again.modulator.unit.item() == pytest.approx(0.3)
    expected = policy.log_probs(items, z)
    assert torch.equal(again.log_probs(items, z), expected)
    again.modulator.unit.fill_(1)
    assert (again.log_probs(items, z) - expected).abs().max() > 0.01


def test_training_takes_the_usual_z_of_its_pairs_for_the_unit(shared_base: Base, world: Camps, tmp_path: Path) -> None:
    policy = fit(shared_base, tmp_path, world, training=short(**BRIEF))
    pairs = pairs_of(shared_base, world.train, world.items, world.vectors)
    usual = pairs.latents(torch.arange(len(pairs)), 0).double().square().mean().sqrt()
    assert policy.modulator.unit.item() == pytest.approx(usual.item(), rel=1e-5)
    assert 0.01 < usual < 0.9, "hardly different from 1"


def test_of_very_many_pairs_some_from_everywhere_say_what_is_usual(
    shared_base: Base, world: Camps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tacit.policies.fit._AT_ONCE", 10)
    told = torch.arange(1.0, 7).unsqueeze(1)
    policy = fit(shared_base, tmp_path, world, training=short(**BRIEF), told=(told, torch.ones(8, 1)))
    taken = told[world.train.user[torch.arange(0, 36, 4)]]
    assert policy.modulator.unit.item() == pytest.approx(taken.square().mean().sqrt().item(), rel=1e-5)


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
