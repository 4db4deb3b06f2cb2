"""`tacit add`: more choices into a profile."""

from pathlib import Path
from typing import Annotated

import typer

from tacit.cli._options import Seed, find_model
from tacit.cli._paths import Overwrite, prepare_file
from tacit.cli._progress import progress
from tacit.cli._result import Result
from tacit.cli._rows import Format, Map, SkipBadRows, read_rows
from tacit.cli._users import check_profile, moved_table, summary
from tacit.errors import ConfigError

__all__ = ["EXAMPLE", "add"]

EXAMPLE = "tacit add ann.json more.jsonl --model model/"


def add(
    profile: Annotated[Path, typer.Argument(metavar="PROFILE", help="profile.json of `tacit infer`.")],
    rows: Annotated[str, typer.Argument(metavar="ROWS", help="More choices of this user.")],
    model: Annotated[str, typer.Option("--model", metavar="DIR", help="The model that made the profile.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Where to write; default: the profile itself.")
    ] = None,
    forget: Annotated[bool, typer.Option("--forget", help="Take these choices out again instead.")] = False,
    columns: Map = None,
    format: Format = None,  # noqa: A002
    skip_bad_rows: SkipBadRows = False,
    overwrite: Overwrite = False,
    seed: Seed = 0,
) -> Result:
    """Add choices to a profile, equal to having inferred from all at once; the model is not trained.

    Nothing here is random; --seed is taken because every verb takes it.
    """
    if profile.suffix == ".parquet":
        raise ConfigError(f"{profile} holds many users; take one out with `tacit infer`, or infer them all again")
    owner = check_profile(profile) or None
    folder, target = find_model(model), out or profile
    prepare_file(target, own="encoder", overwrite=overwrite or out is None)
    with progress(f"reading {rows}") as report:
        table = read_rows(rows, skip_bad_rows, columns, format, user=owner)
        from tacit.rewards.model import RewardModel

        report.phase(f"loading {model}")
        user = RewardModel.load(folder).load_user(profile)
        report.phase("embedding")
        before = user.choices
        if forget:
            user.forget(table)
        else:
            user.add(table)
        moved = user.explain(table)
    user.save(target)
    data = {
        "user": user.id, "choices_before": before, "choices": user.choices, "doubt": user.doubt,
        "information": user.information, "out": str(target),
    }  # fmt: skip
    return Result(data, [summary(user), moved_table(moved), f"written: {target}"])
