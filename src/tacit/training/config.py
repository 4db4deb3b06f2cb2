"""How a reward model is trained."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from tacit.training.run_log import Tracker

__all__ = ["ObjectiveConfig", "TrainingConfig"]


class ObjectiveConfig(BaseModel):
    """The objective: `predictive` (default; with a deterministic encoder it is the plain NLL) or `elbo`.

    Attributes:
        samples: draws of z per user (predictive wants at least 4).
        beta: weight of the ELBO's KL term.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: Literal["predictive", "elbo"] = "predictive"
    samples: int = Field(default=8, ge=1, le=1024)
    beta: float = Field(default=1.0, ge=0)


class TrainingConfig(BaseModel):
    """Optimisation: AdamW, linear warm-up, cosine decay, clipping, early stop on validation users.

    Attributes:
        steps: optimiser steps at most.
        users_per_batch, max_context, targets: the shape of an episode; k is uniform on {0..max_context} per user.
        validate_every: steps between validations (also: checkpoints, diagnostics, lines in metrics.jsonl).
        patience: validations without a better NLL before training stops; 0 never stops early.
        threads: CPU threads, or None to measure and choose.
        device: `cpu`, `cuda`, ..., or None to measure and choose.
        report_to: experiment trackers to send the validation numbers to.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    seed: int = Field(default=0, ge=0, lt=2**32)
    steps: int = Field(default=2000, ge=1, le=10**9)
    users_per_batch: int = Field(default=64, ge=1, le=10**6)
    max_context: int = Field(default=20, ge=0, le=10**6)
    targets: int = Field(default=20, ge=1, le=10**6)
    learning_rate: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    warmup: float = Field(default=0.1, ge=0, lt=1)
    clip: float = Field(default=1.0, gt=0)
    validate_every: int = Field(default=100, ge=1)
    patience: int = Field(default=10, ge=0)
    objective: ObjectiveConfig = ObjectiveConfig()
    threads: int | None = Field(default=None, ge=1, le=1024)
    device: str | None = None
    report_to: tuple[Tracker, ...] = ()
