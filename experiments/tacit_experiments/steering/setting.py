"""How large the experiment is, and how its policies are trained. Chosen on seed 0; see docs/log.md."""

from dataclasses import dataclass, field
from typing import Literal

from tacit.engines import Sampling
from tacit.policies import PolicyTrainingConfig
from tacit.steering import PolicyConfig
from tacit.workflows.policy_demo import policy_config, policy_training

__all__ = ["NAT", "Setting"]

NAT = 0.6
"""Inferred nats that are worth a true one: reward models are unsure, and shrink. The true reward teaches in the same
unit, so that one beta takes both policies equally far."""


@dataclass(frozen=True)
class Setting:
    """Sizes of one seed.

    Attributes:
        people: `sphere`, everybody different; `two`, half like warm, long answers and half the opposite.
        users, choices_per_user: of the world; a fifth of the users are strangers.
        answers_per_prompt: that the world's writer gives.
        judges, questions: strangers who are asked, and new questions of each.
    """

    people: Literal["sphere", "two"] = "sphere"
    users: int = 3000
    choices_per_user: int = 60
    answers_per_prompt: int = 32
    reward_steps: int = 1000
    judges: int = 100
    questions: int = 2
    sampling: Sampling = field(default_factory=lambda: Sampling(max_new_tokens=320, top_p=0.9, within_base=True))
    policy: PolicyConfig = field(default_factory=policy_config)
    training: PolicyTrainingConfig = field(default_factory=policy_training)
