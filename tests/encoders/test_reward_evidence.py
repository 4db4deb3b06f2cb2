"""Evidence read off the reward: the encoder contract, the Newton step it claims to be, saving what is shared."""

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.nn import functional
from torch.testing import assert_close

from tacit.encoders.additive import AdditiveEncoder
from tacit.encoders.encoder import mlp
from tacit.episodes import ChoiceBatch
from tacit.rewards import RewardConfig, RewardModel
from tacit.rewards.network import RewardNetwork
from tacit.testing import EncoderConformance

CONFIG = RewardConfig.model_validate({"encoder": "additive", "latent": 3, "head": {"hidden": (8,)}, "dropout": 0.0})


class TestRewardEvidence(EncoderConformance):
    def make(self, dim: int, latent: int) -> AdditiveEncoder:
        last = nn.Linear(8, latent + 1, bias=False)  # a bias would cancel in every difference and get no gradient
        return AdditiveEncoder(dim, latent, features=nn.Sequential(mlp([dim, 8]), nn.GELU(), last))


def test_one_choice_is_a_newton_step_of_its_log_likelihood() -> None:
    network = RewardNetwork(5, CONFIG).double()
    chosen, rejected = torch.randn(2, 1, 1, 5, dtype=torch.float64)

    def log_likelihood(z: torch.Tensor) -> torch.Tensor:
        return functional.logsigmoid(network.head(chosen[0], z) - network.head(rejected[0], z)).sum()

    at = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(log_likelihood(at), at, create_graph=True)
    curvature = -torch.stack([torch.autograd.grad(part, at, retain_graph=True)[0] for part in slope])
    found = network.encoder.evidence(ChoiceBatch.pairs(chosen, rejected))[0, 0]
    assert_close(found, torch.cat([slope, curvature.diagonal()]))


def test_saving_keeps_the_answers(tmp_path: Path) -> None:
    model = RewardModel(RewardNetwork(5, CONFIG).eval())
    assert model.network.encoder.features is model.network.head.net  # type: ignore[attr-defined, union-attr]
    model.save(tmp_path / "model")
    loaded = RewardModel.load(tmp_path / "model")
    choices, items = ChoiceBatch.pairs(torch.randn(2, 4, 5), torch.randn(2, 4, 5)), torch.randn(6, 5)
    assert loaded.fingerprint == model.fingerprint
    assert_close(loaded.score(loaded.infer(choices), items), model.score(model.infer(choices), items))


@pytest.mark.parametrize("encoder", ["additive", "laplace"])
def test_needs_a_bilinear_reward(encoder: str) -> None:
    with pytest.raises(ValidationError, match=f"'{encoder}' reads the reward of a bilinear head, not of 'mlp'"):
        RewardConfig.model_validate({"encoder": encoder, "head": "mlp"})
