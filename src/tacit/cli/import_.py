"""`tacit import`: any log as preferences of our own form, with a report of what was read and dropped."""

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from tacit.cli._options import Seed
from tacit.cli._paths import Overwrite, prepare_file
from tacit.cli._progress import progress
from tacit.cli._result import Result
from tacit.cli._rows import Format, Map, SkipBadRows, read_rows

__all__ = ["EXAMPLE", "import_"]

EXAMPLE = "tacit import votes.jsonl --out choices.parquet --map user_id=voter"


def import_(
    log: Annotated[str, typer.Argument(metavar="LOG", help="A log of preferences in any known format.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write: .parquet or .jsonl.")],
    user: Annotated[
        str | None, typer.Option("--user", metavar="ID", help="Whose choices, if not everybody's or nobody is named.")
    ] = None,
    columns: Map = None,
    format: Format = None,  # noqa: A002
    skip_bad_rows: SkipBadRows = False,
    overwrite: Overwrite = False,
    seed: Seed = 0,
) -> Result:
    """Read a log, say what is in it, and write it as choices that every verb reads.

    Nothing here is random; --seed is taken because every verb takes it.
    """
    from tacit.choices.formats import formats
    from tacit.choices.writer import check_ending, write_choices

    check_ending(out)
    prepare_file(out, own=None, overwrite=overwrite)
    with progress(f"reading {log}") as shown:
        table = read_rows(log, skip_bad_rows, columns, format, user=user)
        shown.phase(f"writing {out}")
        write_choices(table, out)
    counts = table.describe()
    dropped = Counter(cause for _, cause in table.skipped)
    report: dict[str, Any] = {
        "out": str(out), "format": table.format, "rows_read": table.rows_read, "choices": len(table),
        "rows_dropped": len(table.skipped), "dropped_by_cause": dict(dropped.most_common()),
        "users": counts["users"], "prompts": counts["prompts"], "answers": counts["items"], "ties": counts["ties"],
        "rankings": counts["rankings"], "choices_per_user": counts["choices_per_user"],
        "repeated_choices": table.repeated(), "from": table.first_time(), "to": table.last_time(),
    }  # fmt: skip
    per_user = counts["choices_per_user"]
    view = [
        f"{log}: {formats[table.format].about}",
        f"{report['rows_read']:,} rows read, {len(table):,} choices kept, {len(table.skipped):,} rows dropped",
        *(f"  {count:,} rows dropped: {cause}" for cause, count in dropped.most_common(20)),
        f"{counts['users']:,} users with {per_user['min']:.0f} to {per_user['max']:.0f} choices each "
        f"(median {per_user['median']:.0f}), {counts['prompts']:,} prompts, {counts['items']:,} answers, "
        f"{counts['ties']:,} ties, {counts['rankings']:,} rankings, {report['repeated_choices']:,} repeated choices",
    ]
    if report["from"]:
        view.append(f"made between {report['from']} and {report['to']}")
    return Result(report, [*view, f"written: {out}"])
