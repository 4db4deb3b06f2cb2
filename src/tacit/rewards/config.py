"""What a reward network is made of."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["RewardConfig"]

Widths = Annotated[tuple[Annotated[int, Field(ge=1, le=8192)], ...], Field(max_length=16)]


class RewardConfig(BaseModel):
    """Architecture of a reward model; unknown keys are refused.

    Attributes:
        encoder: `additive` (default), `attention` (the paper's) or `none` (the pooled BTL: no user code at all).
        variational: whether the encoder carries doubt; asking and stopping need it.
        latent: size of z.
        evidence: what the encoder reads of a choice: `reward`, the bilinear head's own reward, which generalises best
            to new texts (default where the encoder is additive and the head bilinear), or `network`, one of both items.
        encoder_hidden: widths of the pair network's hidden layers.
        refine: pass the additive posterior through a residual MLP.
        head: `bilinear` (default) or `mlp` (the paper's).
        head_hidden: widths of the head's hidden layers; empty makes a bilinear head linear in items, and an
            MLP head one layer of 64.
        dropout: in both networks, while training.
        ties: learn Davidson's tie parameter; set by training when the data has ties.
        half_life: seconds after which a choice counts half as evidence, or None; training does not age its contexts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    encoder: Literal["additive", "attention", "none"] = "additive"
    variational: bool = True
    latent: int = Field(default=8, ge=1, le=4096)
    evidence: Literal["reward", "network"] | None = None
    encoder_hidden: Widths = (128, 128)
    refine: bool = False
    head: Literal["bilinear", "mlp"] = "bilinear"
    head_hidden: Widths = (128,)
    dropout: float = Field(default=0.3, ge=0, lt=1)
    ties: bool = False
    half_life: float | None = Field(default=None, gt=0)

    @property
    def reads_reward(self) -> bool:
        """Whether evidence comes from the head's own reward."""
        fits = self.encoder == "additive" and self.head == "bilinear"
        return fits and self.evidence != "network"

    @model_validator(mode="after")
    def _has_a_reward_to_read(self) -> Self:
        if self.evidence == "reward" and (self.encoder, self.head) != ("additive", "bilinear"):
            raise ValueError("evidence 'reward' needs the encoder 'additive' and the head 'bilinear'")
        return self
