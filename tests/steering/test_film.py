"""FiLM under the suite that outsiders inherit, and against the paper's formula."""

from typing import Any

import pytest
import torch
from torch.testing import assert_close

from tacit.steering import Modulator, Site
from tacit.steering.modulators import FiLM, FiLMConfig
from tacit.testing import ModulatorConformance


class TestFiLM(ModulatorConformance):
    def make(self, model: Any, latent: int) -> Modulator:
        return FiLM.build(model, latent, FiLMConfig())


class TestFiLMAfterTheFirstBlock(ModulatorConformance):
    def make(self, model: Any, latent: int) -> Modulator:
        return FiLM.build(model, latent, FiLMConfig(blocks=(0,)))

    def test_only_the_chosen_block_is_changed(self) -> None:
        _, modulator, _ = self._fresh()
        assert [site.name for site in modulator.sites] == ["model.layers.0"]


@pytest.fixture
def film() -> FiLM:
    made = FiLM((Site("first", 6, 6), Site("second", 6, 6)), 4, FiLMConfig()).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return made


def test_the_output_is_scaled_and_shifted_as_in_the_paper(film: FiLM) -> None:
    """h gamma(z) + delta(z), with gamma = 1 + C z + c and delta = D z + d, of every user's own z."""
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(2, 4, generator=generator, dtype=torch.float64)
    hidden = torch.randn(2, 5, 6, generator=generator, dtype=torch.float64)
    signal = film.signal(z)
    for site in range(2):
        found = film.change(site, hidden, hidden, signal[site])
        for user in range(2):
            affine = film.weight[site] @ z[user] + film.bias[site]
            gamma, delta = 1 + affine[:6], affine[6:]
            assert_close(found[user], hidden[user] * gamma + delta, rtol=1e-12, atol=1e-12)


def test_a_stranger_gets_the_constants(film: FiLM) -> None:
    signal = film.signal(torch.zeros(1, 4))
    assert torch.equal(signal[:, 0], film.bias)
