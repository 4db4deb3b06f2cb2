"""An encoder trained along with the policy: it moves, by the policy's own gradient, and only where it may."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from policy_problems import Camps, camp_reward, camps, fit, pairs_of, short, small, weights
from torch.testing import assert_close

from tacit.engines import Base, TransformersEngine
from tacit.episodes.batch import ChoiceBatch
from tacit.errors import ConfigError
from tacit.policies.steered_pairs import SteeredPairs, TunedEncoder
from tacit.rewards import RewardConfig, RewardModel
from tacit.rewards.network import RewardNetwork
from tacit.steering import SteerablePolicy

JOINT = short(encoder_learning_rate=0.01)


@pytest.fixture(scope="module")
def world() -> Camps:
    return camps(users=6, choices=6, prompts=16)


def chosen(world: Camps) -> ChoiceBatch:
    """All choices of training users."""
    items = world.vectors[world.train.items].view(world.train.n_users, -1, 2, world.vectors.shape[1])
    return ChoiceBatch.pairs(items[:, :, 0], items[:, :, 1])


def parameters(policy: SteerablePolicy) -> dict[str, torch.Tensor]:
    return policy.reward.network.state_dict()


@pytest.mark.parametrize(
    "config",
    [
        RewardConfig(members=2, latent=4),
        RewardConfig.model_validate({"encoder": "additive", "latent": 4}),
        RewardConfig.model_validate({"encoder": {"kind": "additive", "evidence": "network"}, "latent": 4}),
    ],
)
def test_untrained_it_infers_what_the_reward_model_does(world: Camps, config: RewardConfig) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        reward = RewardModel(RewardNetwork(world.vectors.shape[1], config).eval())
    tuned, choices = TunedEncoder(reward).train(), chosen(world)
    z = tuned(choices.vectors, choices.rank, choices.weight)
    assert_close(z, reward.posterior(reward.infer(choices)).mean, rtol=1e-4, atol=1e-5)
    assert tuned.model().fingerprint == reward.fingerprint
    assert z.requires_grad
    learning = {name for name, one in tuned.network.named_parameters() if one.requires_grad}
    assert learning
    assert all(name.startswith("encoder.") for name in learning)
    assert not any("base" in name or "location" in name for name in learning)


def test_a_batch_carries_the_contexts_that_z_came_from(shared_base: Base, world: Camps) -> None:
    plain = pairs_of(shared_base, world.train, world.items, world.vectors)
    drawn = [(2, number) for number in range(0, 36, 5)]
    batch, fixed = replace(plain, vectors=world.vectors).collate(drawn), plain.collate(drawn)
    z = TunedEncoder(camp_reward())(batch["context"], batch["rank"], batch["context_weight"])
    assert_close(z.detach(), fixed["z"], rtol=1e-4, atol=1e-5)
    assert "z" not in batch
    assert len({int(k) for k in batch["context_weight"].sum(1)}) > 1, "contexts of one length only"


def test_its_gradient_is_that_of_the_policys_loss(base: Base, world: Camps) -> None:
    """Against a finite difference along the gradient itself."""
    policy = SteerablePolicy.new(base, camp_reward(), small())
    with torch.no_grad():
        for up in policy.modulator.get_submodule("up").parameters():
            up.copy_(0.3 * torch.randn(up.shape, generator=torch.Generator().manual_seed(5)))
    tuned = TunedEncoder(camp_reward())
    steered = SteeredPairs(TransformersEngine(base, policy), JOINT, tuned)
    pairs = replace(pairs_of(base, world.train, world.items, world.vectors), vectors=world.vectors)
    batch: dict[str, Any] = pairs.collate([(0, number) for number in range(0, 36, 3)])
    batch["reference"] = 0 * batch["reference"]
    steered(**batch)["loss"].backward()
    wanted = [one for one in tuned.parameters() if one.requires_grad]
    gradient = [one.grad.clone() for one in wanted if one.grad is not None]
    assert len(gradient) == len(wanted)
    length = sum(float(one.square().sum()) for one in gradient) ** 0.5
    assert length > 1e-4
    losses = []
    for sign in (1, -1):
        with torch.no_grad():
            for one, along in zip(wanted, gradient, strict=True):
                one += sign * 0.002 / length * along
            losses.append(float(steered(**batch)["loss"]))
            for one, along in zip(wanted, gradient, strict=True):
                one -= sign * 0.002 / length * along
    # The encoder's gradient is that of its mode, which its few steps only nearly reach.
    assert (losses[0] - losses[1]) / 0.004 == pytest.approx(length, rel=0.15)


def test_training_along_makes_another_reward_model(shared_base: Base, world: Camps, tmp_path: Path) -> None:
    """Which the policy keeps, and by which it is told apart from others; the given one stays as it is."""
    reward = camp_reward()
    before = {name: value.clone() for name, value in reward.network.state_dict().items()}
    state = torch.get_rng_state()
    joint = fit(shared_base, tmp_path / "joint", world, training=JOINT, reward=reward)
    assert torch.equal(torch.get_rng_state(), state), "somebody else's random numbers were drawn"
    alone = fit(shared_base, tmp_path / "alone", world, training=short())
    assert all(torch.equal(value, before[name]) for name, value in reward.network.state_dict().items())
    assert alone.reward.fingerprint == reward.fingerprint != joint.reward.fingerprint
    moved = {name for name, value in parameters(joint).items() if not torch.equal(value, before[name])}
    assert moved
    assert all("personal" in name for name in moved), "more was trained than what z comes from"
    joint.save(tmp_path / "policy")
    again = SteerablePolicy.load(tmp_path / "policy")
    assert again.reward.fingerprint == joint.reward.fingerprint
    items = [world.items[0], world.items[2]]
    users = again.reward.infer(chosen(world).first(3))[torch.tensor([0, 2])]
    z = again.latents(users)
    said = [TransformersEngine(shared_base, policy).log_probs(items, z) for policy in (again, joint)]
    assert torch.equal(*said)


def test_it_learns_the_camps_where_z_alone_did_not_tell_them(shared_base: Base, tmp_path: Path) -> None:
    """A reward model to which all answers are the same: no modulator could learn from it."""
    world = camps(prompts=24)
    deaf = camp_reward()
    with torch.no_grad():
        for name, value in deaf.network.named_parameters():
            if name.endswith(("personal.0.weight", "base.0.weight")):
                value.zero_()
    deaf = replace(deaf, network=deaf.network)
    accuracy = {}
    for rate in (0.0, 0.03):
        training = short(
            max_steps=80, eval_steps=80, per_device_train_batch_size=12, max_context=8, beta=0.5,
            encoder_learning_rate=rate,
        )  # fmt: skip
        policy = fit(shared_base, tmp_path / str(rate), world, training=training, config=small(rank=4), reward=deaf)
        accuracy[rate] = policy.notes["validation_accuracy_k10"]
    assert accuracy[0.0] < 0.7
    assert accuracy[0.03] > 0.8


@pytest.mark.parametrize("change", [{"teacher": "reward"}, {"told": True}, {"max_context": 0}, {"half_life": 10.0}])
def test_it_is_refused_where_z_comes_from_no_context(
    shared_base: Base, world: Camps, tmp_path: Path, change: dict[str, Any]
) -> None:
    told = (torch.ones(world.train.n_users, 2), torch.ones(world.validation.n_users, 2)) if "told" in change else None
    known = {name: value for name, value in change.items() if name in ("teacher", "max_context")}
    config = RewardConfig(members=1, latent=4, half_life=change.get("half_life"))
    reward = RewardModel(RewardNetwork(world.vectors.shape[1], config).eval())
    with pytest.raises(ConfigError, match="set it to 0") as caught:
        fit(shared_base, tmp_path / "run", world, training=short(encoder_learning_rate=0.01, **known), told=told,
            reward=reward)  # fmt: skip
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_run_that_stopped_goes_on_with_its_encoder(shared_base: Base, world: Camps, tmp_path: Path) -> None:
    expected = fit(shared_base, tmp_path / "whole", world, training=JOINT)

    class StopError(Exception):
        pass

    def stop(event: dict[str, Any]) -> None:
        if event["event"] == "step" and event["name"] == "policy" and event["step"] == 5:
            raise StopError

    with pytest.raises(StopError):
        fit(shared_base, tmp_path / "broken", world, training=JOINT, on_event=stop)
    steps: list[int] = []
    found = fit(shared_base, tmp_path / "broken", world, training=JOINT,
                on_event=lambda event: steps.append(event["step"]) if event["event"] == "step" else None)  # fmt: skip
    assert min(step for step in steps if step) > 4, "it began anew"
    assert torch.equal(weights(found), weights(expected))
    assert all(torch.equal(value, parameters(found)[name]) for name, value in parameters(expected).items())
