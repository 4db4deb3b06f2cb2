"""`SteerablePolicy`: whose policy it is, and who is refused."""

from collections.abc import Callable

import pytest
import torch
from moved_policy import moved, refused, some_z
from torch import Tensor
from torch.testing import assert_close

from tacit.encoders import UserStates
from tacit.errors import ConfigError, StateMismatchError
from tacit.policies import Base, PolicyConfig, Sampling, SteerablePolicy
from tacit.rewards import RewardConfig, RewardModel
from tacit.rewards.network import RewardNetwork
from tacit.testing import random_choices

LATENT = 4
ITEMS = [("What is it?", "a cat"), ("Say a word", "x"), ("Q", "many words")]
SHORT = Sampling(max_new_tokens=6, temperature=0)
REQUESTS: dict[str, Callable[[SteerablePolicy, list[str], Tensor], object]] = {
    "generate": lambda policy, prompts, z: policy.generate(prompts, z, SHORT),
    "log_probs": lambda policy, prompts, z: policy.log_probs([(prompt, "yes") for prompt in prompts], z),
    "stream": lambda policy, prompts, z: list(policy.stream(prompts[0], z, SHORT)),
}


def some_states(reward: RewardModel, users: int = 3) -> UserStates:
    return reward.infer(random_choices(users, 5, 64, dtype=torch.float32))


# -- z -----------------------------------------------------------------------------------------------------------------


def test_states_are_read_as_their_posterior_mean(policy: SteerablePolicy, reward: RewardModel) -> None:
    states = some_states(reward)
    mean = reward.posterior(states).mean
    assert mean.norm(dim=1).min() > 0.01
    assert mean.norm(dim=1).max() < 4, "nobody here is beyond the longest z"
    assert torch.equal(policy.latents(states), mean)
    assert torch.equal(policy.log_probs(ITEMS, states), policy.log_probs(ITEMS, mean))


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
@pytest.mark.parametrize("request_", REQUESTS)
def test_a_z_that_is_not_finite_is_refused(policy: SteerablePolicy, value: float, request_: str) -> None:
    z = some_z(1)
    z[0, 1] = value
    assert "not finite" in refused(lambda: REQUESTS[request_](policy, ["Hi"], z), ConfigError)


@pytest.mark.parametrize("z", [torch.zeros(1, 3), torch.zeros(1, 1, 4), torch.zeros(1, 5)], ids=str)
def test_a_z_of_another_size_is_refused(policy: SteerablePolicy, z: Tensor) -> None:
    assert "expected [users, 4]" in refused(lambda: policy.latents(z), ConfigError)


def test_states_of_another_reward_model_are_refused(policy: SteerablePolicy) -> None:
    torch.manual_seed(2)
    other = RewardModel(RewardNetwork(64, RewardConfig(members=1, latent=LATENT)).eval())
    refused(lambda: policy.latents(some_states(other)), StateMismatchError)
    refused(lambda: policy.generate(["Hi"] * 3, some_states(other), SHORT), StateMismatchError)


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


# -- who asks what -----------------------------------------------------------------------------------------------------


def test_one_user_may_ask_everything(policy: SteerablePolicy) -> None:
    z = some_z(1)
    assert_close(policy.log_probs(ITEMS, z), policy.log_probs(ITEMS, z.expand(3, -1)), rtol=1e-5, atol=1e-4)
    prompts = [prompt for prompt, _ in ITEMS]
    assert policy.generate(prompts, z, SHORT) == policy.generate(prompts, z.expand(3, -1), SHORT)


@pytest.mark.parametrize("users", [2, 4, 0])
@pytest.mark.parametrize("request_", ["generate", "log_probs"])
def test_otherwise_every_prompt_has_a_user(policy: SteerablePolicy, users: int, request_: str) -> None:
    message = refused(lambda: REQUESTS[request_](policy, ["a", "b", "c"], some_z(users)), ConfigError)
    assert "3 prompts" in message
    assert f"{users} users" in message


def test_a_stream_is_of_one_user_and_says_so_before_it_is_read(policy: SteerablePolicy) -> None:
    refused(lambda: policy.stream("a", some_z(2), SHORT), ConfigError)


@pytest.mark.parametrize("request_", ["generate", "log_probs"])
def test_no_prompt_at_all_is_refused(policy: SteerablePolicy, request_: str) -> None:
    refused(lambda: REQUESTS[request_](policy, [], some_z(1)), ConfigError)


# -- the base ----------------------------------------------------------------------------------------------------------


def test_a_new_policy_is_the_base_whoever_asks(base: Base, reward: RewardModel) -> None:
    policy = SteerablePolicy.new(base, reward)
    assert torch.equal(policy.log_probs(ITEMS, some_z(3)), policy.log_probs(ITEMS, None))


def test_without_a_user_a_trained_policy_is_the_base(base: Base, reward: RewardModel) -> None:
    expected = SteerablePolicy.new(base, reward).log_probs(ITEMS, None)
    policy = moved(SteerablePolicy.new(base, reward))
    assert torch.equal(policy.log_probs(ITEMS, None), expected)
    with policy.steered(some_z(1)):
        assert torch.equal(policy.log_probs(ITEMS, None), expected), "also inside another request"
    assert (policy.log_probs(ITEMS, some_z(3)) - expected).abs().min() > 0.01


def test_two_policies_share_a_base_and_do_not_meet(base: Base, reward: RewardModel) -> None:
    first = moved(SteerablePolicy.new(base, reward))
    alone = first.log_probs(ITEMS, some_z(3))
    second = moved(SteerablePolicy.new(base, reward), seed=8)
    other = second.log_probs(ITEMS, some_z(3))
    assert torch.equal(first.log_probs(ITEMS, some_z(3)), alone)
    assert (alone - other).abs().max() > 0.1


def test_the_seed_decides_where_training_starts(base: Base, reward: RewardModel) -> None:
    """And nobody else's random state is touched."""
    before = torch.get_rng_state()
    first, same, other = (SteerablePolicy.new(base, reward, seed=seed).modulator.state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["gate"], other["gate"])


def test_a_longer_text_than_the_base_reads_is_refused_when_the_policy_is_made(base: Base, reward: RewardModel) -> None:
    refused(lambda: SteerablePolicy.new(base, reward, PolicyConfig(max_length=97)), ConfigError)
