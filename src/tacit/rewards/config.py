"""What a reward network is made of."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tacit.encoders import encoders
from tacit.registry import PartConfig, Registry
from tacit.rewards.heads import heads

__all__ = ["EncoderPart", "HeadPart", "RewardConfig"]


class EncoderPart(PartConfig):
    """Which encoder, with its own settings."""

    registry: ClassVar[Registry[Any]] = encoders
    kind: str = "laplace"


class HeadPart(PartConfig):
    """Which reward head, with its own settings."""

    registry: ClassVar[Registry[Any]] = heads
    kind: str = "bilinear"


class RewardConfig(BaseModel):
    """Architecture of a reward model; unknown keys are refused.

    Attributes:
        encoder: `laplace` (default; a Laplace posterior under the head's own reward and a learnt prior: most accurate,
            a state keeps every choice), `additive` (a state is a sum, of one size whatever k), `attention` (the
            paper's), `none` (the pooled BTL: no user code at all), or any other that is registered; a name, or
            `{"kind": name}` with the encoder's own settings beside it.
        head: `bilinear` (default), `mlp` (the paper's) or any other that is registered, likewise.
        latent: size of z.
        members: networks trained from different seeds, whose kernels are averaged (`tacit.rewards.ensemble`); z is so
            many times as long. 4 by default with `laplace`, one component and `base`; otherwise 1.
        base: train the pooled reward first and keep it, frozen, as b(y): what is learnt is only how users differ from
            it, and a user of whom nothing is known gets the pooled reward exactly. Needs evidence read off the reward;
            on by default with `laplace`.
        dropout: in all networks, while training.
        principal: read items by so many whitened principal components, fitted on training items, instead of by every
            number of their vectors: steadier where there are only a few hundred items.
        half_life: seconds after which a choice counts half as evidence; None (default) never ages a choice; "fit"
            picks the best on validation users, or None where choices have no times. Training contexts are not aged.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    encoder: EncoderPart = EncoderPart()
    head: HeadPart = HeadPart()
    latent: int = Field(default=8, ge=1, le=4096)
    members: int = Field(default=4, ge=1, le=64)
    base: bool = True
    dropout: float = Field(default=0.3, ge=0, lt=1)
    principal: int | None = Field(default=None, ge=1, le=8192)
    half_life: Annotated[float, Field(gt=0)] | Literal["fit"] | None = None

    @property
    def personal(self) -> bool:
        """Whether users differ at all."""
        return self.encoder.settings.personal

    def pooled(self) -> Self:
        """The same model without a user code: what every personal reward is compared with, or built on."""
        return self.model_copy(update={"encoder": EncoderPart(kind="none"), "members": 1, "base": False})

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        """Defaults that follow from the encoder, and what cannot stand together; nothing is imported for defaults."""
        given = self.model_fields_set & {"encoder", "head", "members", "base"}
        if not given:
            return self
        from tacit.rewards.heads.bilinear import BilinearHead

        encoder = self.encoder.settings
        if "base" not in given:
            object.__setattr__(self, "base", encoder.on_base)
        if "members" not in given:
            object.__setattr__(self, "members", encoder.members if self.base else 1)
        if encoder.reads_reward and not issubclass(self.head.part, BilinearHead):
            raise ValueError(
                f"encoder {self.encoder.kind!r} reads the reward of a bilinear head, not of {self.head.kind!r}; "
                "set head = bilinear, or an encoder (or its evidence) that does without"
            )
        if self.members > 1 and not (encoder.members > 1 and self.base):
            raise ValueError(
                f"members = {self.members} needs base = true and an encoder whose networks can be joined: "
                "'laplace' with one component"
            )
        if self.base and encoder.personal and not encoder.reads_reward:
            raise ValueError(
                f"base needs an encoder that reads the reward, not {self.encoder.kind!r}; 'laplace' does, "
                "and 'additive' with evidence = reward"
            )
        return self
