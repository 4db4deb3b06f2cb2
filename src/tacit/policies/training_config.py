"""How a policy is trained."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from tacit.training.run_log import Tracker

__all__ = ["PolicyTrainingConfig"]

_PASSES, _FEWEST, _MOST = 3, 100, 1000


class PolicyTrainingConfig(BaseModel):
    """Objective and optimisation of NP-DPO; where TRL's `DPOConfig` has the same setting, it has the same name.

    Attributes:
        teacher: `reward` learns from the reward that a user's choices imply: of some known answers to the prompt the
            best and the worst for that user, and by how much. That is far less noisy than a choice, and as right as the
            reward model is. Z is then what all choices of a user say. `choices` learns from each choice itself (NP-DPO
            as published, with beta=0.1 and sft_weight=0).
        compared: answers that a teacher compares for one pair, drawn at random from all to the prompt.
        written: answers that the base itself writes to a prompt of which fewer than `compared` are known, for the
            teacher to compare too: of two answers, neither need be what a user would want. At most to 256 prompts, and
            half as many answers as pairs are taught. 0 = none; none either where vectors come with the data, so that
            nothing reads new texts.
        beta: the KL weight of the optimum sought: the larger, the nearer to the base.
        sft_weight: adds so many times beta times the preferred response's negative log-likelihood (Pang et al., 2024,
            arXiv 2404.19733): margins alone may grow by making both responses less likely, and what is neither more so.
        max_steps: optimiser steps at most; None = three passes over the pairs, but at least 100 and at most 1000.
        per_device_train_batch_size: pairs in one forward of one process.
        encoder_learning_rate: above 0, the reward model's encoder is trained along, at this rate (`TunedEncoder`).
        max_context: K, the most context choices; k is uniform on {0..K}. With teacher `choices` every pair has such a
            context; with `reward` they only tell how z grows with k.
        eval_steps: steps between validations (also: checkpoints and lines in metrics.jsonl).
        eval_users: validation users at most.
        activation_checkpointing: compute blocks again in backward instead of keeping their activations.
        report_to: experiment trackers to send the validation numbers to.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    seed: int = Field(default=0, ge=0, lt=2**32)
    teacher: Literal["reward", "choices"] = "reward"
    compared: int = Field(default=16, ge=2)
    written: int = Field(default=16, ge=0, le=64)
    beta: float = Field(default=0.3, gt=0)
    sft_weight: float = Field(default=3.0, ge=0)
    max_steps: int | None = Field(default=None, ge=1, le=10**9)
    per_device_train_batch_size: int = Field(default=16, ge=1, le=10**5)
    gradient_accumulation_steps: int = Field(default=1, ge=1, le=10**5)
    learning_rate: float = Field(default=5e-4, gt=0)
    encoder_learning_rate: float = Field(default=0.0, ge=0)
    max_context: int = Field(default=20, ge=0, le=10**4)
    eval_steps: int = Field(default=100, ge=1)
    eval_users: int = Field(default=64, ge=2)
    activation_checkpointing: bool = False
    report_to: tuple[Tracker, ...] = ()

    def steps(self, pairs: int, processes: int = 1) -> int:
        """Optimiser steps on so many pairs, where so many processes share a step."""
        return self.max_steps or min(max(-(-_PASSES * pairs // self.pairs_per_step(processes)), _FEWEST), _MOST)

    def pairs_per_step(self, processes: int = 1) -> int:
        """Pairs of all processes together in one optimiser step."""
        return self.per_device_train_batch_size * self.gradient_accumulation_steps * processes
