"""`tacit infer`: a user's profile from a few choices."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from tacit.cli._options import Seed
from tacit.cli._paths import Overwrite, prepare_file
from tacit.cli._progress import progress
from tacit.cli._result import Result, shorten
from tacit.cli._rows import Format, Map, SkipBadRows, read_rows
from tacit.rewards import RewardModel
from tacit.workflows.users import InferredUser, infer_user

__all__ = ["EXAMPLE", "infer"]

EXAMPLE = "tacit infer model/ choices.jsonl --out profile.json"

_SHOWN = 3


def infer(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Folder of `tacit train-reward`, or a hub name.")],
    choices: Annotated[
        str, typer.Argument(metavar="CHOICES", help="Preferences of one user, or of several and --user.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="PROFILE.json", help="File for the profile.")],
    user: Annotated[
        str | None, typer.Option("--user", metavar="ID", help="Whose choices, if there are several.")
    ] = None,
    columns: Map = None,
    format: Format = None,  # noqa: A002
    skip_bad_rows: SkipBadRows = False,
    overwrite: Overwrite = False,
    seed: Seed = 0,
) -> Result:
    """Infer a user from a few choices in one forward pass, and keep what was inferred as a small JSON file.

    Nothing here is random; --seed is taken because every verb takes it.
    """
    out = prepare_file(out, own="encoder", overwrite=overwrite)
    with progress(f"loading {model}") as report:
        reward = RewardModel.load(model)
        table = read_rows(choices, skip_bad_rows, columns, format, user=user)
        report.phase("embedding")
        inferred = infer_user(reward, table, user, progress=report)
    inferred.save(out)
    view = [_summary(inferred), _moved(inferred), f"written: {out}"]
    return Result(inferred.to_json() | {"out": str(out)}, view)


def _summary(inferred: InferredUser) -> str:
    text = f"user {shorten(inferred.user_id)}: {inferred.choices} choices"
    if inferred.doubt is None:
        return f"{text}; this model keeps no doubt"
    text = f"{text}; doubt {100 * inferred.doubt:.0f} % of a stranger's"
    return text if inferred.information is None else f"{text}, {inferred.information:.1f} nats learnt"


def _moved(inferred: InferredUser) -> Table:
    """The answers whose reward rose and fell most against the population's."""
    table = Table(title="what moved most against the population", title_justify="left")
    table.add_column("reward", justify="right")
    table.add_column("response")
    for item in sorted(inferred.moved[: 2 * _SHOWN], key=lambda item: -item["shift"]):
        doubt = "" if item["doubt"] is None else f" ± {item['doubt']:.2f}"
        table.add_row(f"{item['shift']:+.2f}{doubt}", shorten(item["response"]))
    return table
