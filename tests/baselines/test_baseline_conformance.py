"""The pooled models under the suite of preference models: they keep the contract and learn nothing of anybody."""

from collections.abc import Callable

import pytest
import torch

from tacit.baselines import DPL, PooledBTL, PublishedDPL
from tacit.baselines.dpl import MeanVarianceNetwork
from tacit.errors import ChoiceError
from tacit.rewards import RewardConfig, RewardModel
from tacit.testing import SavedModelConformance


def pooled_model(kind: type[RewardModel], dim: int, seed: int, *, ties: bool = False) -> RewardModel:
    """An untrained model of a baseline, its weights off their start."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        settings = RewardConfig.model_validate({"encoder": "none", "head": {"hidden": (16,)}})
        network = kind.network_class(dim, settings, ties=ties)
        network.standardizer.fit(0.5 + 2 * torch.randn(50, dim))
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
        network.settle(torch.randn(50, dim))
    return kind(network.eval(), temperature=0.8)


class TestPooledBTL(SavedModelConformance):
    personal = False

    def make(self, seed: int) -> RewardModel:
        return pooled_model(PooledBTL, self.dim, seed)


class TestPooledBTLWithTies(SavedModelConformance):
    personal = False
    ties = True

    def make(self, seed: int) -> RewardModel:
        return pooled_model(PooledBTL, self.dim, seed, ties=True)


class TestDPL(SavedModelConformance):
    personal = False

    def make(self, seed: int) -> RewardModel:
        return pooled_model(DPL, self.dim, seed)


class TestPublishedDPL(SavedModelConformance):
    personal = False

    def make(self, seed: int) -> RewardModel:
        return pooled_model(PublishedDPL, self.dim, seed)


@pytest.mark.parametrize(
    "refused",
    [
        lambda: MeanVarianceNetwork(3, RewardConfig().pooled(), ties=True),
        lambda: MeanVarianceNetwork(3, RewardConfig()),
    ],
)
def test_dpl_refuses_what_it_has_no_model_of(refused: Callable[[], object]) -> None:
    with pytest.raises(ChoiceError, match="DPL is a pooled model of strict pairs"):
        refused()
