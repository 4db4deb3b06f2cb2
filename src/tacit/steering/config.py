"""What a policy is made of, beside its base and its reward model."""

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from tacit.registry import PartConfig, Registry
from tacit.steering.modulators import modulators

__all__ = ["ModulatorPart", "PolicyConfig", "Template"]

Template = Literal["auto", "chat", "plain"]
"""How conversations become tokens; `auto` is `chat` where the base has a chat template."""


class ModulatorPart(PartConfig):
    """Which modulator, with its own settings."""

    registry: ClassVar[Registry[Any]] = modulators
    kind: str = "gated_lora"


class PolicyConfig(BaseModel):
    """Settings that a saved policy keeps.

    Attributes:
        modulator: what z changes in the base: `gated_lora` (default), which folds into an ordinary LoRA, `film` (the
            paper's), `soft_token` (P-RLHF's), or any other that is registered; a name, or `{"kind": name}` with the
            modulator's own settings beside it.
        template: how conversations become tokens, `chat`, `plain`, or `auto` (see `Dialogue`).
        max_length: tokens of prompt and response together; None = what the base takes.
        max_norm: the longest z, as a multiple of the square root of its size, the length of a draw from the prior;
            a longer one is shortened to it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    modulator: ModulatorPart = ModulatorPart()
    template: Template = "auto"
    max_length: int | None = Field(default=None, ge=2)
    max_norm: float = Field(default=2.0, gt=0)
