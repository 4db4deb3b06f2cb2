"""`tacit infer`: a user's profile from a few choices, or the profiles of all users of a log."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tacit.cli._options import ModelFolder, Seed, find_model
from tacit.cli._paths import Overwrite, prepare_file
from tacit.cli._progress import progress
from tacit.cli._result import Result, shorten
from tacit.cli._rows import Format, Map, SkipBadRows, read_rows
from tacit.cli._users import moved_table, summary

if TYPE_CHECKING:
    from tacit.users import Users

__all__ = ["EXAMPLE", "infer"]

EXAMPLE = "tacit infer model/ choices.jsonl --out profile.json"


def infer(
    model: ModelFolder,
    choices: Annotated[str, typer.Argument(metavar="CHOICES", help="Preferences of one user, or of many.")],
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="profile.json for one user, profiles.parquet for all.")
    ],
    user: Annotated[
        str | None, typer.Option("--user", metavar="ID", help="Whose choices, if there are several.")
    ] = None,
    columns: Map = None,
    format: Format = None,  # noqa: A002
    skip_bad_rows: SkipBadRows = False,
    overwrite: Overwrite = False,
    seed: Seed = 0,
) -> Result:
    """Infer a user from a few choices in one forward pass, and keep what was inferred as a small file.

    With --out FILE.parquet every user of CHOICES is inferred, a row each. Nothing here is random; --seed is taken
    because every verb takes it.
    """
    many = out.suffix == ".parquet"
    prepare_file(out, own=None if many else "encoder", overwrite=overwrite)
    folder = find_model(model)
    with progress(f"reading {choices}") as report:
        table = read_rows(choices, skip_bad_rows, columns, format, user=user)
        if not many:
            table = table.of_user(user)
        from tacit.rewards.model import RewardModel

        report.phase(f"loading {model}")
        reward = RewardModel.load(folder)
        report.phase("embedding")
        if many:
            users = reward.users(table, on_event=report.event)
            users.save(out)
            return Result(*_all(users, out))
        one = reward.user(table)
        moved = one.explain(table)
    one.save(out)
    data = {"user": one.id, "choices": one.choices, "doubt": one.doubt, "information": one.information}
    view = [summary(one), moved_table(moved), f"written: {out}"]
    return Result(data | {"moved": [_plain(each) for each in moved], "out": str(out)}, view)


def _all(users: "Users", out: Path) -> tuple[dict[str, Any], list[str]]:
    counts = sorted(one.choices for one in users)
    middle = counts[len(counts) // 2]
    text = f"{len(users):,} users, {counts[0]} to {counts[-1]} choices each (median {middle})"
    data = {"users": len(users), "choices": sum(counts), "out": str(out)}
    return data, [text, f"first: {shorten(users.ids[0])}", f"written: {out}"]


def _plain(moved: Any) -> dict[str, Any]:
    from tacit.choices.conversation import prompt_said

    return {
        "prompt": prompt_said(moved.prompt), "response": moved.answer, "shift": moved.shift, "doubt": moved.doubt,
    }  # fmt: skip
