"""The soft user token under the suite that outsiders inherit, and where it does and does not act."""

from typing import Any

import pytest
import torch
from moved_policy import answers, moved
from torch import Tensor
from torch.testing import assert_close

from tacit.engines import Base, Sampling, TransformersEngine
from tacit.errors import ConfigError
from tacit.rewards import RewardModel
from tacit.steering import Modulator, PolicyConfig, SteerablePolicy
from tacit.steering.modulators import SoftToken, SoftTokenConfig
from tacit.testing import ModulatorConformance

SOFT = PolicyConfig.model_validate({"modulator": "soft_token"})


class TestSoftToken(ModulatorConformance):
    def make(self, model: Any, latent: int) -> Modulator:
        return SoftToken.build(model, latent, SoftTokenConfig())

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
    begin = int(made.begin)
    ids = torch.tensor([[0, 0, begin, 7, 8], [begin, 9, 10, 11, 12]])
    expected = table(ids)
    unit = users / made.unit
    length = (unit.norm(dim=1, keepdim=True) / 2) ** (made.power - 1)
    for row, place in ((0, 2), (1, 0)):
        expected[row, place] += made.weight @ (unit * length)[row] + made.bias
    with TransformersEngine(base, policy) as engine, engine.steered(users):
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
    engine = TransformersEngine(base, policy)
    together = answers(engine, prompts, users, greedy)
    assert together == [answers(engine, [prompt], users[i : i + 1], greedy)[0] for i, prompt in enumerate(prompts)]
    assert together != answers(engine, prompts, -users, greedy)


def test_a_base_that_begins_with_nothing_of_the_kind_is_refused(base: Base, reward: RewardModel) -> None:
    """Where the token never occurs, it would train on nothing."""
    begun = base.tokenizer.bos_token_id
    base.model.config.bos_token_id = None
    with pytest.raises(ConfigError, match="names no token that prompts begin with") as caught:
        SteerablePolicy.new(base, reward, SOFT)
    assert "\n" not in str(caught.value)
    base.model.config.bos_token_id = begun + 5
    with pytest.raises(ConfigError, match="needs plain prompts that begin with the base's bos token") as caught:
        TransformersEngine(base, SteerablePolicy.new(base, reward, SOFT))
    assert "\n" not in str(caught.value)
