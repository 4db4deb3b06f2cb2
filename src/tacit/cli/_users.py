"""What verbs about one user share: the profile as an argument, checked before work starts, and a user in words."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tacit.cli._result import shorten
from tacit.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from tacit.users import Moved, User

__all__ = ["OfUser", "OptionalProfile", "Profile", "check_profile", "moved_table", "summary"]

Profile = Annotated[
    Path, typer.Option("--profile", metavar="FILE", help="From `tacit infer`: profile.json, or profiles.parquet.")
]
OptionalProfile = Annotated[
    Path | None, typer.Option("--profile", metavar="FILE", help="From `tacit infer`; default: a user without choices.")
]
OfUser = Annotated[
    str | None, typer.Option("--user", metavar="ID", help="Whose profile, where the file holds several.")
]

_SHOWN = 3


def check_profile(path: Path | None, user: str | None = None) -> str | None:
    """Whose profile it is, found without anything heavy; None where there is no profile.

    Raises:
        ConfigError: no such file, or a user without a file.
        ModelFormatError, ChoiceError: no profile, or none of `user`.
    """
    if path is None:
        if user is not None:
            raise ConfigError(f"--user {user} is looked for in a profile; give --profile FILE")
        return None
    if not path.is_file():
        raise ConfigError(f"{path} does not exist; make it with `tacit infer`")
    from tacit.users import find_profile

    return find_profile(path, user)


def summary(user: "User") -> str:
    """One line: how many choices, how much they tell."""
    text = f"user {shorten(user.id or 'without an id')}: {user.choices} choices"
    doubt, information = user.doubt, user.information
    if doubt is None:
        return f"{text}; this model keeps no doubt"
    text = f"{text}; doubt {100 * doubt:.0f} % of what it is without a choice"
    return text if information is None else f"{text}, {information:.1f} nats learnt"


def moved_table(moved: Sequence["Moved"]) -> "Table":
    """The answers whose reward rose and fell most against the population's."""
    from rich.table import Table

    table = Table(title="what moved most against the population", title_justify="left")
    table.add_column("reward", justify="right")
    table.add_column("response")
    for each in sorted(moved[: 2 * _SHOWN], key=lambda each: -each.shift):
        doubt = "" if each.doubt is None else f" ± {each.doubt:.2f}"
        table.add_row(f"{each.shift:+.2f}{doubt}", shorten(each.answer))
    return table
