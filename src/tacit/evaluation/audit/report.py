"""What an audit found: as data, and in one or two sentences each for the page and the command line."""

from dataclasses import asdict, dataclass, field
from typing import Any

from tacit.evaluation.audit.disagreement import Disagreement
from tacit.evaluation.audit.minority import Minority
from tacit.evaluation.audit.verdict import FEWEST, MOST_USERS, Estimate, Verdict
from tacit.events import Event

__all__ = ["Audit", "because", "choices", "headline", "points", "sentence", "settle", "warning"]


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


def headline(verdict: Verdict) -> str:
    """The answer as a sentence."""
    if verdict.answer == "cannot tell":
        return f"Cannot tell {'' if verdict.leaking else 'yet '}whether personalising pays."
    return f"Personalising {verdict.answer}."


def because(verdict: Verdict) -> str:
    """What was found, and why that is the answer."""
    v = verdict
    found = (
        f"After {choices(v.k)} of a new user, predictions of what that user prefers are right {abs(v.gain.mean):.1f} "
        f"points {'more' if v.gain.mean >= 0 else 'less'} often than with one model for everybody "
        f"(95 % interval {v.gain.low:+.1f} to {v.gain.high:+.1f})"
    )
    if v.leaking:
        return f"{found}, but much of what is gained does not come from knowing the user."
    sides = {"pays": "all of that interval lies above", "does not pay": "all of that interval lies below"}
    side = sides.get(v.answer, "that interval does not clear")
    return f"{found}; {side} the {v.min_gain:g} {_points(v.min_gain)} you asked for."


def sentence(verdict: Verdict) -> str:
    """The verdict as one or two sentences."""
    return f"{headline(verdict)} {because(verdict)}"


def settle(audit: Audit) -> str | None:
    """What data would settle an open verdict or measure more choices, or None where nothing is missing."""
    v, parts = audit.verdict, []
    if v.answer == "cannot tell" and not v.leaking:
        now = f"now {audit.data['users']}, of whom {v.gain.users} were tested at {choices(v.k)}"
        if v.beyond:
            parts.append(
                f"More than {MOST_USERS:,} users ({now}) would be needed to settle it: the estimate lies too close to "
                f"{v.min_gain:g} {_points(v.min_gain)}."
            )
        else:
            parts.append(
                f"About {v.users_needed:,} users ({now}) with as many choices each would settle it, if the average "
                "gain and its spread between users stay as they are; if they move, so does this number."
            )
        if v.gain.users < FEWEST:
            parts.append(f"Fewer than {FEWEST} tested users never get a verdict.")
    if audit.choices_for_ten is not None:
        parts.append(
            f"Most users have too few choices to measure what 10 would buy: that takes about {audit.choices_for_ten} "
            f"choices per user (the median is now {audit.data['choices_per_user']['median']:g}), because some of each "
            "user's choices are kept apart as questions."
        )
    return " ".join(parts) or None


def warning(audit: Audit) -> str | None:
    """What is wrong with the measurement itself, or None."""
    if not audit.verdict.leaking:
        return None
    return (
        f"Leaking: shown a stranger's choices, the personalised model still gains "
        f"{points(audit.control[audit.verdict.k])} points over one model for everybody. So something other than the "
        "user's own taste helps it: look for texts that give the answer away (formatting, length, order), the same "
        "choices under several user ids, or a chance difference between two trained models (more repeats show it). "
        "Until that is found, this audit does not say that personalising pays."
    )


def choices(count: int) -> str:
    """`1 choice`, `2 choices`."""
    return f"{count} choice" if count == 1 else f"{count} choices"


def points(e: Estimate) -> str:
    """`+3.1 [+1.0, +5.2]`."""
    return f"{e.mean:+.1f} [{e.low:+.1f}, {e.high:+.1f}]"


def _points(number: float) -> str:
    return "point" if number == 1 else "points"
