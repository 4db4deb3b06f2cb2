"""`tacit explain`: what a user likes more and less than the population does, in words."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tacit.cli._options import ModelFolder, Seed, find_model
from tacit.cli._progress import progress
from tacit.cli._result import Result, shorten
from tacit.cli._rows import Format, Map, SkipBadRows, read_rows
from tacit.cli._users import OfUser, Profile, check_profile, summary
from tacit.errors import ChoiceError

if TYPE_CHECKING:
    from tacit.users import Moved

__all__ = ["EXAMPLE", "explain"]

EXAMPLE = "tacit explain model/ --profile ann.json answers.jsonl"
_SHOWN = 5


def explain(
    model: ModelFolder,
    items: Annotated[
        str, typer.Argument(metavar="ITEMS", help="Answers (prompt, response) or choices to explain the user by.")
    ],
    profile: Profile,
    user: OfUser = None,
    columns: Map = None,
    format: Format = None,  # noqa: A002
    skip_bad_rows: SkipBadRows = False,
    seed: Seed = 0,
) -> Result:
    """Say which answers the user likes more and less than the population does, and how sure that is.

    Nothing here is random; --seed is taken because every verb takes it.
    """
    owner = check_profile(profile, user) or None
    folder = find_model(model)
    with progress(f"reading {items}") as report:
        rows = _read(items, skip_bad_rows, columns, format, owner)
        from tacit.rewards.model import RewardModel

        report.phase(f"loading {model}")
        known = RewardModel.load(folder).load_user(profile, user)
        report.phase("embedding")
        moved = known.explain(rows)
    data = {"user": known.id, "choices": known.choices, "moved": [asdict(each) for each in moved]}
    return Result(data, [summary(known), *_words(moved)])


def _read(items: str, skip_bad_rows: bool, columns: list[str] | None, format: str | None, user: str | None) -> Any:  # noqa: A002
    """Items where the file has them, else the user's choices."""
    from tacit.choices.conversation import Conversation
    from tacit.cli._rows import read_items

    try:
        found = read_items(items, skip_bad_rows, columns)
    except ChoiceError as error:
        if "no column 'response'" not in str(error) and "'response'" not in str(error):
            raise
        return read_rows(items, skip_bad_rows, columns, format, user=user)
    return [(Conversation.from_key(prompt), answer) for prompt, answer in found]


def _words(moved: list["Moved"]) -> list[str]:
    liked = [each for each in moved if each.shift > 0][:_SHOWN]
    less = [each for each in moved if each.shift < 0][:_SHOWN]
    lines = []
    for title, some in (("likes more than most people do:", liked), ("likes less than most people do:", less)):
        lines += [title, *(_line(each) for each in some)] if some else []
    return lines or ["likes these answers as most people do"]


def _line(each: "Moved") -> str:
    sure = "" if each.doubt is None else (", surely" if abs(each.shift) > 2 * each.doubt else ", perhaps")
    return f"  {each.shift:+.2f} nats{sure}: {shorten(each.answer)}"
