"""From measured gains to one of three answers: pays, does not pay, cannot tell.

All numbers are points: one point is one more of a hundred choices foreseen. The answer is read off one interval, at a
k that counts of users decide before any gain is looked at. It is "pays" where the whole interval lies above the
smallest gain worth having, "does not pay" where all of it lies below, and "cannot tell" otherwise.

Two rules make it harder to say yes. Percentile intervals over few users are too narrow, so fewer than `FEWEST` tested
users always end in "cannot tell". And where the control that is shown a stranger's choices gains too (its whole
interval lies above 0), not all of the gain comes from knowing the user: "pays" is then refused.

How many users would settle it: for gains with standard deviation s over users and an estimate d points away from the
smallest gain worth having, the interval 1.96 s / sqrt(n) is shorter than d from n = (1.96 s / d)^2 tested users on.
That assumes that the estimate and the spread stay what they are.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tacit.errors import ChoiceError

__all__ = ["FEWEST", "Answer", "Estimate", "Verdict", "decide", "supported_k", "users_needed"]

Answer = Literal["pays", "does not pay", "cannot tell"]

FEWEST = 20
MOST_USERS = 1_000_000
WANTED_K = 3
_Z = 1.96


@dataclass(frozen=True)
class Estimate:
    """A mean over users in points.

    Attributes:
        mean, low, high: the mean and its 95 % bootstrap interval over users.
        spread: standard deviation over users.
        users: how many.
    """

    mean: float
    low: float
    high: float
    spread: float
    users: int


@dataclass(frozen=True)
class Verdict:
    """The answer and what it rests on.

    Attributes:
        answer: one of three.
        k: choices of a new user at which it was read.
        gain: over one model for everybody, at that k.
        min_gain: the smallest gain worth having, points.
        leaking: whether the control gains too, so that "pays" would have been refused.
        users_needed: in the data, to settle it, where the answer is "cannot tell" for want of users; None otherwise,
            and where not even `MOST_USERS` would do (`beyond` is then true).
        beyond: more than `MOST_USERS` would be needed.
    """

    answer: Answer
    k: int
    gain: Estimate
    min_gain: float
    leaking: bool = False
    users_needed: int | None = None
    beyond: bool = False


def supported_k(users: Mapping[int, int]) -> int:
    """The k to judge at, from the number of tested users by k alone.

    The largest k that at least half of all tested users reach. Where that is below 3, the smallest k of 3 or more that
    `FEWEST` users reach; where there is none, the k above 0 that most users reach.

    Raises:
        ChoiceError: nobody has a choice to be known by.
    """
    everyone = max(users.values())
    common = max(k for k, n in users.items() if 2 * n >= everyone)
    if common >= WANTED_K:
        return common
    able = [k for k, n in users.items() if k >= WANTED_K and n >= FEWEST]
    if able:
        return min(able)
    reached = {k: n for k, n in users.items() if k and n}
    if not reached:
        raise ChoiceError(
            f"of {everyone} test users nobody has {min(k for k in users if k)} choices beside those asked about; "
            "bring more choices of each user, on different prompts"
        )
    return common or max(reached, key=lambda k: (reached[k], k))


def users_needed(gain: Estimate, min_gain: float, *, users: int) -> int | None:
    """Users that the data should have, of whom the same share gets tested, for the interval to clear `min_gain`.

    Args:
        gain: what was found.
        min_gain: points.
        users: users in the data now, of whom `gain.users` were tested.

    Returns:
        A number above `users`, or None for more than `MOST_USERS`.
    """
    distance = abs(gain.mean - min_gain)
    tested = (_Z * gain.spread / distance) ** 2 if distance else math.inf
    if tested * users > MOST_USERS * gain.users:
        return None
    wanted = math.ceil(max(tested, FEWEST) * users / gain.users)
    return max(wanted, users + 1)


def decide(gain: Estimate, control: Estimate, *, k: int, min_gain: float, users: int) -> Verdict:
    """The verdict at `k`.

    Args:
        gain: of the personalised over the pooled model.
        control: of the personalised model, shown another user's choices, over the pooled model.
        min_gain: the smallest gain worth having, points.
        users: users in the data, tested or not.
    """
    leaking = gain.users >= FEWEST and control.low > 0
    answer: Answer = "cannot tell"
    if gain.users >= FEWEST and gain.low > min_gain and not leaking:
        answer = "pays"
    elif gain.users >= FEWEST and gain.high < min_gain:
        answer = "does not pay"
    if answer != "cannot tell" or leaking:
        return Verdict(answer, k, gain, min_gain, leaking)
    needed = users_needed(gain, min_gain, users=users)
    return Verdict(answer, k, gain, min_gain, leaking, needed, beyond=needed is None)
