"""The soft user token under the suite that outsiders inherit, and where it does and does not act."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from moved_policy import moved
from policy_problems import camps, fit, short
from torch import Tensor
from torch.testing import assert_close

from tacit.errors import ConfigError
from tacit.policies import Base, Modulator, ModulatorConfig, PolicyConfig, Sampling, SteerablePolicy
from tacit.rewards import RewardModel
from tacit.steering.modulators import SoftToken, build_modulator
from tacit.testing import ModulatorConformance

SOFT = PolicyConfig(modulator=ModulatorConfig(kind="soft_token"))


class TestSoftToken(ModulatorConformance):
    def make(self, model: Any, latent: int) -> Modulator:
        return build_modulator(model, latent, ModulatorConfig(kind="soft_token"))

    def test_it_is_one_vector_at_the_embeddings(self) -> None:
        _, modulator, _ = self._fresh()
        assert [site.name for site in modulator.sites] == ["model.embed_tokens"]
        assert modulator.parameter_count() == 16 * self.latent + 16


def z(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


def test_it_moves_the_first_token_by_wz_and_no_other(base: Base, reward: RewardModel) -> None:
    policy, users = moved(SteerablePolicy.new(base, reward, SOFT)), z(2, 4)
    made: Any = policy.modulator
    table = base.model.get_input_embeddings()
    ids = torch.tensor([[0, 0, made.begin, 7, 8], [made.begin, 9, 10, 11, 12]])
    expected = table(ids)
    unit = users / made.unit
    length = (unit.norm(dim=1, keepdim=True) / 2) ** (made.power - 1)
    for row, place in ((0, 2), (1, 0)):
        expected[row, place] += made.weight @ (unit * length)[row] + made.bias
    with policy.steered(users):
        found = table(ids)
    assert_close(found, expected)
    assert (found - table(ids)).abs().max() > 0.1
    assert isinstance(made, SoftToken)


def test_cached_answers_follow_their_users(base: Base, reward: RewardModel) -> None:
    """Only the prompt's first token is moved, and what is written later still depends on it."""
    policy = moved(SteerablePolicy.new(base, reward, SOFT))
    for parameter in policy.modulator.parameters():
        parameter.data.mul_(20)
    users, prompts, greedy = z(2, 4), ["What is it?", "And?"], Sampling(max_new_tokens=12, temperature=0)
    together = policy.generate(prompts, users, greedy)
    assert together == [policy.generate([prompt], users[i : i + 1], greedy)[0] for i, prompt in enumerate(prompts)]
    assert together != policy.generate(prompts, -users, greedy)


def test_it_learns_the_camps(shared_base: Base, tmp_path: Path) -> None:
    training = short(
        teacher="reward", max_steps=120, eval_steps=120, per_device_train_batch_size=12, eval_pairs=4, max_context=8,
        learning_rate=0.03,
    )  # fmt: skip
    policy = fit(shared_base, tmp_path, camps(prompts=24), training=training, config=SOFT)
    assert policy.notes["validation_accuracy_k10"] > 0.8


def test_a_base_that_begins_with_nothing_of_the_kind_is_refused(base: Base, reward: RewardModel) -> None:
    """Where the token never occurs, it would train on nothing."""
    begun = base.tokenizer.bos_token_id
    base.model.config.bos_token_id = None
    with pytest.raises(ConfigError, match="names no token that prompts begin with") as caught:
        SteerablePolicy.new(base, reward, SOFT)
    assert "\n" not in str(caught.value)
    base.model.config.bos_token_id = begun + 5
    with pytest.raises(ConfigError, match="needs plain prompts that begin with the base's bos token") as caught:
        SteerablePolicy.new(replace(base), reward, SOFT)
    assert "\n" not in str(caught.value)
