"""The suite that outsiders inherit finds modulators that only look right."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tacit.steering import Lora, Modulator
from tacit.steering.modulators import GatedLoRA, GatedLoRAConfig
from tacit.testing import ModulatorConformance


class _StartsElsewhere(GatedLoRA):
    """Not the identity before training."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        with torch.no_grad():
            self.up[0].fill_(0.1)


class _Deaf(GatedLoRA):
    """An ordinary LoRA: the same for everybody."""

    def respond(self, z: Tensor) -> Tensor:
        return super().respond(0 * z)


class _Unitless(GatedLoRA):
    """Takes z as it comes, however small the reward model's latents are."""

    def signal(self, z: Tensor) -> Tensor:
        return self.respond(z)


class _DeafAtOneSite(GatedLoRA):
    """Personal everywhere but at one site."""

    def respond(self, z: Tensor) -> Tensor:
        signal = super().respond(z)
        return torch.cat([signal[:4], torch.ones_like(signal[4:5]), signal[5:]])


class _Averaging(GatedLoRA):
    """Everybody in the batch is answered as their average."""

    def respond(self, z: Tensor) -> Tensor:
        signal = super().respond(z)
        return signal.mean(1, keepdim=True).expand_as(signal)


class _TwoMinds(GatedLoRA):
    """Serves other than it learns."""

    def change(self, site: int, inputs: Tensor, output: Tensor, signal: Tensor) -> Tensor:
        return super().change(site, inputs, output, 2 * signal)


class _HalfDead(GatedLoRA):
    """Has weights that nothing uses."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.spare = nn.Parameter(torch.zeros(3))


class _Forgetful(GatedLoRA):
    """Keeps a part of itself outside its weights."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.strength = float(torch.rand(()))


class _FoldsElsewhere(GatedLoRA):
    """Exports another user's adapter."""

    def fold(self, z: Tensor) -> Lora:
        return super().fold(-z)


class _LopsidedBasis(GatedLoRA):
    """Its basis leaves out what everybody gets."""

    def basis(self) -> list[Lora]:
        return [super().basis()[1], *super().basis()[1:]]


def suite_of(kind: type[GatedLoRA]) -> ModulatorConformance:
    class Suite(ModulatorConformance):
        def make(self, model: Any, latent: int) -> Modulator:
            return kind.build(model, latent, GatedLoRAConfig())

    return Suite()


@pytest.mark.parametrize(
    ("kind", "test", "message"),
    [
        (_StartsElsewhere, ModulatorConformance.test_untrained_it_is_the_reference_bit_for_bit, "untrained"),
        (_Deaf, ModulatorConformance.test_each_row_follows_its_own_z, "told the same"),
        (_Unitless, ModulatorConformance.test_z_is_read_in_units, "not in units"),
        (
            _DeafAtOneSite,
            ModulatorConformance.test_z_changes_what_every_site_puts_out,
            "z changes nothing at .*gate_proj",
        ),
        (_Averaging, ModulatorConformance.test_each_row_follows_its_own_z, "not close"),
        (_Averaging, ModulatorConformance.test_several_rows_of_one_user_come_in_runs, "not close"),
        (_TwoMinds, ModulatorConformance.test_without_gradients_it_is_the_same, "serve is not change"),
        (_FoldsElsewhere, ModulatorConformance.test_what_it_folds_into_does_the_same, "folded is not live"),
        (_LopsidedBasis, ModulatorConformance.test_what_it_folds_into_does_the_same, "basis is not what is folded"),
        (_HalfDead, ModulatorConformance.test_gradient_reaches_every_weight, "no gradient reaches .'spare'"),
        (_Forgetful, ModulatorConformance.test_weights_come_back_from_a_state_dict, "do not say all"),
    ],
)
def test_the_suite_finds_it(kind: type[GatedLoRA], test: Callable[[ModulatorConformance], None], message: str) -> None:
    test(suite_of(GatedLoRA))
    with pytest.raises(AssertionError, match=message):
        test(suite_of(kind))
