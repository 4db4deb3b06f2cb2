"""Settings of an audit, checked before anything heavy is imported."""

from collections.abc import Sequence

from pydantic import Field

from tacit.errors import ConfigError
from tacit.training.config import TrainingConfig

__all__ = ["KS", "AuditTraining", "check_settings"]

KS = (0, 1, 3, 5, 10)


class AuditTraining(TrainingConfig):
    """Short runs: an audit trains many models, and asks which of two is better, not how good either can get."""

    steps: int = Field(default=600, ge=1, le=10**9)
    validate_every: int = Field(default=50, ge=1)
    patience: int = Field(default=6, ge=0)


def check_settings(*, min_gain: float, repeats: int, ks: Sequence[int] = KS) -> None:
    """Refuse settings of `audit` that are out of range.

    Raises:
        ConfigError: always that.
    """
    if not 0 <= min_gain <= 100:
        raise ConfigError(f"--min-gain is {min_gain:g} points of accuracy; expected a number from 0 to 100")
    if repeats < 1:
        raise ConfigError(f"--repeats is {repeats}; expected at least 1")
    if not any(k > 0 for k in ks) or min(ks) < 0:
        raise ConfigError(f"ks = {list(ks)}; expected numbers of choices, none below 0 and at least one above")
