"""`SteerablePolicy`: whose policy it is, what it folds into, and that it knows of no live model."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from moved_policy import moved, refused, some_z
from torch import Tensor
from torch.testing import assert_close

from tacit.encoders import UserStates
from tacit.engines import Base
from tacit.errors import ConfigError, StateMismatchError
from tacit.rewards import RewardConfig, RewardModel
from tacit.rewards.network import RewardNetwork
from tacit.steering import PolicyConfig, SteerablePolicy
from tacit.testing import random_choices


def some_states(reward: RewardModel, users: int = 3) -> UserStates:
    return reward.infer(random_choices(users, 5, 64, dtype=torch.float32))


# -- z -----------------------------------------------------------------------------------------------------------------


def test_states_are_read_as_their_posterior_mean(policy: SteerablePolicy, reward: RewardModel) -> None:
    states = some_states(reward)
    mean = reward.posterior(states).mean
    assert mean.norm(dim=1).min() > 0.01
    assert mean.norm(dim=1).max() < 4, "nobody here is beyond the longest z"
    assert torch.equal(policy.latents(states), mean)
    assert torch.equal(policy.latents(mean), mean)


def test_a_z_longer_than_people_have_is_shortened_and_no_other(base: Base, reward: RewardModel) -> None:
    policy = SteerablePolicy.new(base, reward, PolicyConfig(max_norm=1.5))
    z = some_z(1) / some_z(1).norm()
    lengths = torch.tensor([0.0, 0.5, 2.99, 3.01, 50.0]).unsqueeze(1)  # the longest is 1.5 sqrt(4) = 3
    found = policy.latents(lengths * z)
    assert torch.equal(found[:3], (lengths * z)[:3])
    assert_close(found[3:], 3 * z.expand(2, -1))


@pytest.mark.parametrize("size", [1e20, 1e30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_even_an_enormous_z_keeps_its_direction(policy: SteerablePolicy, size: float, dtype: torch.dtype) -> None:
    """Its length overflows in single precision, and would make it a stranger's, or NaN."""
    z = torch.tensor([[3.0, 0.0, -4.0, 0.0]], dtype=dtype)
    assert_close(policy.latents(size * z), torch.tensor([[2.4, 0.0, -3.2, 0.0]]))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_z_that_is_not_finite_is_refused(policy: SteerablePolicy, value: float) -> None:
    z = some_z(1)
    z[0, 1] = value
    assert "not finite" in refused(lambda: policy.latents(z), ConfigError)


@pytest.mark.parametrize("z", [torch.zeros(1, 3), torch.zeros(1, 1, 4), torch.zeros(1, 5)], ids=str)
def test_a_z_of_another_size_is_refused(policy: SteerablePolicy, z: Tensor) -> None:
    assert "expected [users, 4]" in refused(lambda: policy.latents(z), ConfigError)


def test_states_of_another_reward_model_are_refused(policy: SteerablePolicy) -> None:
    torch.manual_seed(5)
    other = RewardModel(RewardNetwork(64, RewardConfig(members=1, latent=4)).eval())
    refused(lambda: policy.latents(some_states(other)), StateMismatchError)


def test_a_mix_runs_straight_from_one_user_to_the_other(policy: SteerablePolicy, reward: RewardModel) -> None:
    """Either may be states or z, and one may stand for all of the other's."""
    a, b = some_states(reward), some_z(1)
    first, second = policy.latents(a), policy.latents(b)
    assert torch.equal(policy.mix(a, b, 0), first)
    assert torch.equal(policy.mix(a, b, 1), second.expand(3, -1))
    assert_close(policy.mix(a, b, 0.25), 0.75 * first + 0.25 * second)


@pytest.mark.parametrize("share", [-0.01, 1.01, float("nan")])
def test_a_mix_beyond_its_ends_is_refused(policy: SteerablePolicy, share: float) -> None:
    assert "[0, 1]" in refused(lambda: policy.mix(some_z(1), some_z(1, seed=3), share), ConfigError)


# -- adapters ----------------------------------------------------------------------------------------------------------


def test_the_basis_weighted_for_a_user_is_what_is_folded(policy: SteerablePolicy, reward: RewardModel) -> None:
    """Of states and of z, those beyond the longest too."""
    policy.modulator.power.fill_(0.7)
    policy.modulator.everybody.fill_(0.4)
    basis = policy.basis()
    assert len(basis) == 5
    for users in (some_states(reward), 30 * some_z(3)):
        scales = policy.scales(users)
        assert torch.equal(scales[:, 0], torch.ones(3))
        for user, z in zip(scales, policy.latents(users), strict=True):
            folded = policy.fold(z.unsqueeze(0))
            assert set(folded) == {site.name for site in policy.sites}
            for name, (down, up) in folded.items():
                assert torch.equal(down, basis[0][name][0])
                total = sum(weight * part[name][1] for weight, part in zip(user, basis, strict=True))
                assert_close(total, up, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("users", [0, 2])
def test_only_one_user_is_folded_at_a_time(policy: SteerablePolicy, users: int) -> None:
    assert f"found {users}" in refused(lambda: policy.fold(some_z(users)), ConfigError)


def test_film_folds_into_nothing(base: Base, reward: RewardModel) -> None:
    policy = moved(SteerablePolicy.new(base, reward, PolicyConfig.model_validate({"modulator": "film"})))
    for call in (lambda: policy.fold(some_z()), policy.basis):
        message = refused(call, ConfigError)
        assert "FiLM" in message
        assert "'gated_lora'" in message


# -- settings ----------------------------------------------------------------------------------------------------------


def test_each_kind_brings_its_own_settings() -> None:
    given = {"modulator": {"kind": "film", "blocks": [0]}}
    assert PolicyConfig.model_validate(given).model_dump(mode="json")["modulator"] == given["modulator"]
    assert PolicyConfig.model_validate({"modulator": {"rank": 3}}).modulator.kind == "gated_lora"
    assert PolicyConfig().model_dump()["modulator"]["rank"] == 8
    assert PolicyConfig.model_validate({"modulator": "film"}).model_dump()["modulator"]["blocks"] is None
    again = PolicyConfig.model_validate_json(PolicyConfig(max_length=9).model_dump_json())
    assert again == PolicyConfig(max_length=9)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("steering_vector", "'steering_vector' is unknown.*soft_token"),
        ({"kind": "film", "rank": 3}, "'film' has no setting rank"),
        ({"rank": 0}, "greater than or equal to 1"),
        (7, "modulator"),
        ({"kind": 7}, "modulator.kind"),
    ],
)
def test_settings_of_another_kind_are_refused(given: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        PolicyConfig.model_validate({"modulator": given})


# -- no live model -----------------------------------------------------------------------------------------------------


def test_an_artefact_is_read_mixed_folded_and_written_without_transformers(
    policy: SteerablePolicy, tmp_path: Path
) -> None:
    """Its base is nowhere, and nothing that could run it is imported."""
    policy.save(tmp_path / "policy")
    code = f"""
import sys, torch
from tacit.steering import SteerablePolicy, write_adapter
from pathlib import Path
policy = SteerablePolicy.load({str(tmp_path / "policy")!r})
z = policy.mix(policy.reward.prior(), torch.ones(1, 4), 0.5)
assert len(policy.basis()) == 5 and policy.scales(z).shape == (1, 5)
folder = Path({str(tmp_path)!r}) / "adapter"
folder.mkdir()
write_adapter(policy.fold(z), policy.sites, policy.base.name, folder)
policy.save({str(tmp_path / "again")!r})
assert "transformers" not in sys.modules, "an artefact imports transformers"
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (tmp_path / "adapter" / "adapter_model.safetensors").exists()
