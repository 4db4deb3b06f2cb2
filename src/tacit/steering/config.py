"""What a policy is made of, beside its base and its reward model."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from tacit.steering.modulators.config import ModulatorConfig

__all__ = ["PolicyConfig", "Template"]

Template = Literal["auto", "chat", "plain"]
"""How prompts and responses become text; `auto` is `chat` where the base has a chat template."""


class PolicyConfig(BaseModel):
    """Settings that a saved policy keeps.

    Attributes:
        modulator: what z changes in the base.
        template: how prompts and responses become text, `chat`, `plain`, or `auto` (see `Dialogue`).
        max_length: tokens of prompt and response together; None = what the base takes.
        max_norm: the longest z, as a multiple of the square root of its size, which is how long a draw from the prior
            is; a longer one, of somebody who answers like nobody in training, is shortened to it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    modulator: ModulatorConfig = ModulatorConfig()
    template: Template = "auto"
    max_length: int | None = Field(default=None, ge=2)
    max_norm: float = Field(default=2.0, gt=0)
