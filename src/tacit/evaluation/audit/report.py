"""What an audit found, as data."""

from dataclasses import asdict, dataclass, field
from typing import Any

from tacit.evaluation.audit.disagreement import Disagreement
from tacit.evaluation.audit.minority import Minority
from tacit.evaluation.audit.verdict import Estimate, Verdict
from tacit.events import Event

__all__ = ["Audit"]


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        verdict: the answer.
        gain: by k, personalised over pooled.
        control: by k, personalised on a stranger's choices over pooled; must not gain.
        swap: by k, personalised on a user's own choices over personalised on a stranger's.
        level: by k, accuracy in percent of "model", "pooled" and "shuffled_user".
        users: by k, people tested.
        disagreement: on pairs that several people judged, or None where there are none.
        minority: what the smaller of two groups wants, or None where people cannot be told apart or no
            group has a fair size.
        choices_for_ten: choices a user needs, at these prompts, for ten to lie on the context side; None where half of
            the users reach ten.
        data: what `ChoiceTable.describe` says, the name of the source, and how it was split.
        metrics: the validations of all training runs.
    """

    verdict: Verdict
    gain: dict[int, Estimate]
    control: dict[int, Estimate]
    swap: dict[int, Estimate]
    level: dict[int, dict[str, float]]
    users: dict[int, int]
    disagreement: Disagreement | None
    minority: Minority | None
    choices_for_ten: int | None
    data: dict[str, Any]
    metrics: tuple[Event, ...] = field(default=(), repr=False)

    def to_json(self) -> dict[str, Any]:
        """The shape of `audit.json`: points and percent as numbers, keys are strings, no NaN."""
        plain: dict[str, Any] = asdict(self)
        del plain["metrics"]
        for name in ("gain", "control", "swap", "level", "users"):
            plain[name] = {str(k): value for k, value in plain[name].items()}
        return plain
