"""What a reward network is made of."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["RewardConfig"]

Widths = Annotated[tuple[Annotated[int, Field(ge=1, le=8192)], ...], Field(max_length=16)]


class RewardConfig(BaseModel):
    """Architecture of a reward model; unknown keys are refused.

    Attributes:
        encoder: `laplace` (default; a Laplace posterior under the head's own reward and a learnt prior: most accurate,
            a state keeps every choice), `additive` (a state is a sum, of one size whatever k), `attention` (the
            paper's) or `none` (the pooled BTL: no user code at all).
        components: Gaussians in the learnt prior of the `laplace` encoder; several suit users of a few types.
        members: networks trained from different seeds, whose kernels are averaged (`tacit.rewards.ensemble`); z is so
            many times as long. 4 by default with `laplace`, one component and `base`; otherwise 1.
        variational: whether the encoder carries doubt; asking and stopping need it.
        latent: size of z.
        evidence: what the encoder reads of a choice: `reward`, the bilinear head's own reward, which generalises best
            to new texts (default wherever the head is bilinear), or `network`, one of both items.
        encoder_hidden: widths of the pair network's hidden layers.
        refine: pass the additive posterior through a residual MLP.
        head: `bilinear` (default) or `mlp` (the paper's).
        head_hidden: widths of the head's hidden layers; empty makes a bilinear head linear in items, and an
            MLP head one layer of 64.
        dropout: in both networks, while training.
        ties: learn Davidson's tie parameter; set by training when the data has ties.
        base: train the pooled reward first and keep it, frozen, as b(y): what is learnt is only how users differ from
            it, and a user of whom nothing is known gets the pooled reward exactly. Needs evidence read off the reward;
            on by default with `laplace`.
        principal: read items by so many whitened principal components, fitted on training items, instead of by every
            number of their vectors: steadier where there are only a few hundred items.
        half_life: seconds after which a choice counts half as evidence; None (default) never ages a choice; "fit"
            picks the best on validation users, or None where choices have no times. Training contexts are not aged.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    encoder: Literal["additive", "laplace", "attention", "none"] = "laplace"
    components: int = Field(default=1, ge=1, le=64)
    members: int = Field(default=4, ge=1, le=64)
    variational: bool = True
    latent: int = Field(default=8, ge=1, le=4096)
    evidence: Literal["reward", "network"] | None = None
    encoder_hidden: Widths = (128, 128)
    refine: bool = False
    head: Literal["bilinear", "mlp"] = "bilinear"
    head_hidden: Widths = (128,)
    dropout: float = Field(default=0.3, ge=0, lt=1)
    ties: bool = False
    base: bool = True
    principal: int | None = Field(default=None, ge=1, le=8192)
    half_life: Annotated[float, Field(gt=0)] | Literal["fit"] | None = None

    @property
    def reads_reward(self) -> bool:
        """Whether evidence comes from the head's own reward."""
        if self.encoder == "laplace":
            return True
        fits = self.encoder == "additive" and self.head == "bilinear"
        return fits and self.evidence != "network"

    def pooled(self) -> Self:
        """The same model without a user code: what every personal reward is compared with, or built on."""
        return self.model_copy(
            update={"encoder": "none", "evidence": None, "components": 1, "members": 1, "base": False}
        )

    @model_validator(mode="before")
    @classmethod
    def _by_encoder(cls, given: Any) -> Any:
        """`base` and `members` where nothing is said of them."""
        if not isinstance(given, dict):
            return given
        given = {"base": given.get("encoder", "laplace") == "laplace"} | given
        several = given["base"] is True and given.get("components", 1) == 1
        return {"members": 4 if several and given.get("encoder", "laplace") == "laplace" else 1} | given

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        fits = self.head == "bilinear" and self.evidence != "network"
        if self.encoder == "laplace" and not (fits and self.variational):
            raise ValueError("encoder 'laplace' needs head 'bilinear', variational = true and evidence 'reward'")
        if self.encoder != "laplace" and self.components > 1:
            raise ValueError(f"components = {self.components} needs encoder 'laplace'")
        if self.members > 1 and not (self.encoder == "laplace" and self.base and self.components == 1):
            raise ValueError(f"members = {self.members} needs encoder 'laplace', base = true and components = 1")
        if self.evidence == "reward" and not self.reads_reward:
            raise ValueError("evidence 'reward' needs encoder 'additive' or 'laplace' and head 'bilinear'")
        if self.base and self.encoder != "none" and not self.reads_reward:
            raise ValueError(
                "base needs an encoder that reads the reward: 'laplace', or 'additive' with head 'bilinear'"
            )
        return self
