"""Both reward heads under the suite that outsiders inherit."""

from typing import ClassVar

import pytest
import torch
from torch import Tensor

from tacit.rewards import BilinearHead, MLPHead, RewardHead
from tacit.rewards.heads import HeadConfig
from tacit.testing import HeadConformance


class TestBilinear(HeadConformance):
    def make(self, dim: int, latent: int) -> RewardHead:
        return BilinearHead(dim, latent)


class TestBilinearLinear(HeadConformance):
    def make(self, dim: int, latent: int) -> RewardHead:
        return BilinearHead(dim, latent, HeadConfig(hidden=()))


class TestMLP(HeadConformance):
    def make(self, dim: int, latent: int) -> RewardHead:
        return MLPHead(dim, latent, HeadConfig(hidden=(16, 8)))


class TestMLPOneLayer(HeadConformance):
    def make(self, dim: int, latent: int) -> RewardHead:
        return MLPHead(dim, latent)


class _Deaf(RewardHead):
    """Adds a user's latent to all rewards alike: it looks personal and is not."""

    linear: ClassVar[bool] = True

    def __init__(self, dim: int, latent: int) -> None:
        super().__init__()
        self.item, self.user = torch.nn.Linear(dim, 1), torch.nn.Linear(latent, 1)

    def read(self, items: Tensor) -> Tensor:
        return self.item(items)

    def combine(self, features: Tensor, z: Tensor) -> Tensor:
        return features.squeeze(-1) + self.user(z)


class _Comparing(BilinearHead):
    """Reads items against the others beside them."""

    def read(self, items: Tensor) -> Tensor:
        return super().read(items - items.mean(-2, keepdim=True))


def test_the_suite_finds_a_head_that_reads_items_together() -> None:
    class Suite(HeadConformance):
        def make(self, dim: int, latent: int) -> RewardHead:
            return _Comparing(dim, latent)

    with pytest.raises(AssertionError, match="not close"):
        Suite().test_reading_looks_at_each_item_alone()


def test_the_suite_finds_a_head_that_ignores_the_user() -> None:
    class Suite(HeadConformance):
        def make(self, dim: int, latent: int) -> RewardHead:
            return _Deaf(dim, latent)

    with pytest.raises(AssertionError, match="rank items alike"):
        Suite().test_the_latent_changes_preferences()
