"""`RewardModel` under the suite of preference models: encoders x heads x doubt, ties, ageing off, pooled."""

import torch

from tacit.rewards import RewardConfig, RewardModel
from tacit.rewards.network import RewardNetwork
from tacit.testing import SavedModelConformance

PAIRS = {"kind": "additive", "evidence": "network", "hidden": (16,)}


def small_model(dim: int, seed: int, **config: object) -> RewardModel:
    """A model with weights off their start and a standardiser that does something."""
    ties = bool(config.pop("ties", False))
    sizes = {"latent": 3, "head": {"hidden": (16,)}}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        network = RewardNetwork(dim, RewardConfig.model_validate(sizes | config), ties=ties)
        network.standardizer.fit(0.5 + 2 * torch.randn(50, dim))
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return RewardModel(network.eval(), temperature=1.3)


class TestDefault(SavedModelConformance):
    def make(self, seed: int) -> RewardModel:
        return small_model(self.dim, seed)


class TestLaplaceWithoutABase(SavedModelConformance):
    def make(self, seed: int) -> RewardModel:
        return small_model(self.dim, seed, encoder="laplace", base=False)


class TestLaplaceOnABaseWithLearntPrior(SavedModelConformance):
    def make(self, seed: int) -> RewardModel:
        return small_model(self.dim, seed, encoder={"components": 3}, base=True)


class TestBilinearVariational(SavedModelConformance):
    def make(self, seed: int) -> RewardModel:
        return small_model(self.dim, seed, encoder="additive")


class TestAdditiveOnABase(SavedModelConformance):
    def make(self, seed: int) -> RewardModel:
        return small_model(self.dim, seed, encoder="additive", base=True)


class TestNetworkEvidence(SavedModelConformance):
    def make(self, seed: int) -> RewardModel:
        return small_model(self.dim, seed, encoder=PAIRS)


class TestPrincipalComponents(SavedModelConformance):
    def make(self, seed: int) -> RewardModel:
        return small_model(self.dim, seed, principal=3)


class TestBilinearDeterministic(SavedModelConformance):
    def make(self, seed: int) -> RewardModel:
        return small_model(self.dim, seed, encoder={"kind": "additive", "variational": False})


class TestMLPVariational(SavedModelConformance):
    def make(self, seed: int) -> RewardModel:
        return small_model(self.dim, seed, encoder=PAIRS, head="mlp")


class TestMLPDeterministic(SavedModelConformance):
    def make(self, seed: int) -> RewardModel:
        return small_model(self.dim, seed, encoder=PAIRS | {"variational": False}, head="mlp")


class TestTies(SavedModelConformance):
    ties = True

    def make(self, seed: int) -> RewardModel:
        return small_model(self.dim, seed, ties=True)


class TestTiesBilinearVariational(SavedModelConformance):
    ties = True

    def make(self, seed: int) -> RewardModel:
        return small_model(self.dim, seed, encoder="additive", ties=True)


class TestTiesMLPVariational(SavedModelConformance):
    ties = True

    def make(self, seed: int) -> RewardModel:
        return small_model(self.dim, seed, encoder=PAIRS, ties=True, head="mlp")


class TestTiesDeterministic(SavedModelConformance):
    ties = True

    def make(self, seed: int) -> RewardModel:
        return small_model(self.dim, seed, encoder={"kind": "additive", "variational": False}, ties=True)


class TestAttention(SavedModelConformance):
    def make(self, seed: int) -> RewardModel:
        return small_model(self.dim, seed, encoder="attention")


class TestPooled(SavedModelConformance):
    personal = False

    def make(self, seed: int) -> RewardModel:
        return small_model(self.dim, seed, encoder="none")
