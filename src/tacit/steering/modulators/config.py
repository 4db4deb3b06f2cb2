"""Which modulator, and how large."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["ModulatorConfig"]


class ModulatorConfig(BaseModel):
    """Settings of a modulator.

    Attributes:
        kind: `gated_lora`, which exports as an ordinary LoRA; `film`, the paper's; or `soft_token`, P-RLHF's.
        rank, alpha: of gated LoRA; its updates are scaled by alpha / rank.
        targets: last names of the modules that gated LoRA changes, such as `q_proj`; None = every linear map of the
            chosen blocks.
        blocks: numbers of the transformer blocks to change, negative ones from the end; None = all. A soft token has
            none of these settings.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: Literal["gated_lora", "film", "soft_token"] = "gated_lora"
    rank: int = Field(default=8, ge=1, le=1024)
    alpha: float = Field(default=16.0, gt=0)
    targets: tuple[str, ...] | None = Field(default=None, min_length=1)
    blocks: tuple[int, ...] | None = Field(default=None, min_length=1)
