"""The contract of a modulator: what z does to the function a language model computes.

A modulator owns a few weights per site (a module inside the base model, untouched) and turns z into a signal once per
request. At each site it replaces the module's output by one that depends on that signal. It never wraps or renames
anything in the base: off, the base is the reference, bit for bit.

A new one is one file in `tacit.steering.modulators`, or anywhere in an installed distribution:

    class MyConfig(ModulatorConfig): ...  # settings

    @modulators.register("mine")
    class MyModulator(Modulator):
        config_class = MyConfig
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from tacit.errors import ConfigError

__all__ = ["Change", "Lora", "Modulator", "ModulatorConfig", "Site", "normal"]

_SHORT = 1e-3  # below that many units what remains of a length is proportional to it, so that 0 stays 0

Lora = Mapping[str, tuple[Tensor, Tensor]]
"""An ordinary LoRA by site name: A Float[rank inputs] and B Float[outputs rank], every scale inside B."""


@dataclass(frozen=True)
class Site:
    """A module of the base model, with the sizes of its input and output vectors.

    Attributes:
        name: the module's full name.
        target: what an adapter's `target_modules` calls it; its last name where that means sites alone.
        transposed: whether its weight is stored as [inputs, outputs] (GPT-2's `Conv1D`).
    """

    name: str
    inputs: int
    outputs: int
    target: str = ""
    transposed: bool = False


class ModulatorConfig(BaseModel):
    """Settings of a modulator; each kind inherits its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Change(ABC):
    """What the sites do to the rows of one request, in two parts, around each site's own module.

    Shapes: inputs Float[rows tokens inputs], output Float[rows tokens outputs].
    """

    @abstractmethod
    def read(self, site: int, inputs: Tensor) -> Any:
        """Before the module runs: what `write` will need of its inputs."""

    @abstractmethod
    def write(self, site: int, noted: Any, output: Tensor) -> Tensor:
        """After it: what the site puts out instead of `output`, which may be changed in place without gradients."""


class Modulator(nn.Module, ABC):
    """Weights that change a base model's modules by z: Float[rows latent], one row a user.

    Args:
        sites: what is changed, in the base's order.
        latent: size of z.
        config: settings, of the class `config_class`.
        generator: draws the weights that start at random.

    Attributes:
        unit: what counts as one in every z; training sets it so that the entries of a usual z are about 1, however
            little a reward model's latents spread.
        power: what remains of differences in length: a z of 2 units is taken for one of 2^power. Short ones, from few
            choices, are made longer where training shows that they come out too short (`policies.latent_scaling`).
        everybody: weight of what everybody gets beside a usual z; at 0, a stranger gets the reference.

    The three are scalars that training sets before its first step, saved with the weights.
    """

    config_class: ClassVar[type[ModulatorConfig]]

    unit: Tensor
    power: Tensor
    everybody: Tensor

    def __init__(
        self, sites: Sequence[Site], latent: int, config: Any, *, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        self.sites, self.latent, self.config = tuple(sites), latent, config
        for name in ("unit", "power", "everybody"):
            self.register_buffer(name, torch.ones(()))

    @classmethod
    @abstractmethod
    def find(cls, model: Any, config: Any) -> Sequence[Site]:
        """The sites in a live causal language model.

        Raises:
            ConfigError: what the settings ask for is not there.
        """

    @classmethod
    def build(cls, model: Any, latent: int, config: Any, generator: torch.Generator | None = None) -> Self:
        """A new modulator for a live model, the identity until it is trained."""
        return cls(cls.find(model, config), latent, config, generator=generator)

    def scaled(self, z: Tensor) -> Tensor:
        """Z as the sites read it, in units and with its length adjusted: Float[rows latent]."""
        z = z / self.unit
        length = (z.norm(dim=-1, keepdim=True) / self.latent**0.5).clamp(min=_SHORT)
        return z * length ** (self.power - 1)

    def signal(self, z: Tensor) -> Tensor:
        """All that the sites need to know of z, computed once per request: Float[sites rows width]."""
        return self.respond(self.scaled(z))

    def check(self, prompt: Sequence[int], *, chat: bool) -> None:
        """Raise ConfigError if prompts such as this, of a chat template or not, leave it nothing to act on."""

    @abstractmethod
    def respond(self, z: Tensor) -> Tensor:
        """The signal of a scaled z, Float[rows latent], whose entries are about 1 long."""

    @abstractmethod
    def change(self, site: int, inputs: Tensor, output: Tensor, signal: Tensor) -> Tensor:
        """What a site puts out instead of `output`, Float[rows tokens outputs]; before training, `output` itself.

        Shapes: inputs Float[rows tokens inputs], signal Float[rows width].
        """

    def changes(self, signal: Tensor) -> Change:
        """`change` for rows whose signal is at hand, Float[sites rows width].

        Divided in one go: sites that each took their own part would each give a gradient as large as the whole.
        """
        return _Plain(self, signal.unbind(0))

    def serve(self, signal: Tensor, groups: Sequence[Sequence[int]], dtype: torch.dtype) -> Change:
        """The same where nobody asks for gradients, for modulators that know a faster way then.

        Whoever inherits from such a modulator and alters `change` alters this too; the conformance suite compares them.

        Args:
            signal: Float[sites rows width].
            groups: every site, with those that are given the very same inputs, in the order in which they run.
            dtype: of the inputs.
        """
        return self.changes(signal)

    def fold(self, z: Tensor) -> Lora:
        """The ordinary LoRA that does the same for one z, Float[latent].

        Raises:
            ConfigError: a kind of modulator that none does the same as.
        """
        raise self._no_adapter()

    def basis(self) -> list[Lora]:
        """Latent + 1 ordinary LoRAs, of which `fold(z)` is the sum weighted by (1, *scaled(z)); all share their A.

        Raises:
            ConfigError: as `fold`.
        """
        raise self._no_adapter()

    def parameter_count(self) -> int:
        """Number of weights."""
        return sum(parameter.numel() for parameter in self.parameters())

    def _no_adapter(self) -> ConfigError:
        return ConfigError(
            f"modulator {type(self).__name__} folds into no ordinary adapter; train a policy of 'gated_lora' for that"
        )


class _Plain(Change):
    """`Modulator.change`, site by site."""

    def __init__(self, modulator: Modulator, by_site: Sequence[Tensor]) -> None:
        self._modulator, self._by_site = modulator, by_site

    def read(self, site: int, inputs: Tensor) -> Tensor:
        return inputs

    def write(self, site: int, noted: Tensor, output: Tensor) -> Tensor:
        return self._modulator.change(site, noted, output, self._by_site[site])


def normal(shape: Sequence[int], std: float, generator: torch.Generator | None) -> nn.Parameter:
    """Weights drawn from a generator of one's own, so that nobody else's random state is touched."""
    return nn.Parameter(torch.randn(*shape, generator=generator) * std)
