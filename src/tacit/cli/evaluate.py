"""`tacit evaluate`: accuracy and calibration by number of choices, with controls."""

from typing import TYPE_CHECKING, Annotated

import typer

from tacit.cli._options import ModelFolder, Out, Seed, find_model
from tacit.cli._paths import Overwrite, prepare_out
from tacit.cli._progress import progress
from tacit.cli._result import Result
from tacit.cli._rows import Format, Map, SkipBadRows, read_rows
from tacit.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from tacit.evaluation import Report

__all__ = ["EXAMPLE", "evaluate"]

EXAMPLE = "tacit evaluate model/ data.jsonl --out results/"

_LARGEST_K = 1_000_000


def evaluate(
    model: ModelFolder,
    data: Annotated[str, typer.Argument(metavar="DATA", help="Preferences; `test` rows if there is a split column.")],
    out: Out,
    k: Annotated[
        str, typer.Option("--k", metavar="K,K,...", help="Numbers of choices to infer each user from.")
    ] = "0,1,3,5,10,20",
    columns: Map = None,
    format: Format = None,  # noqa: A002
    skip_bad_rows: SkipBadRows = False,
    overwrite: Overwrite = False,
    seed: Seed = 0,
) -> Result:
    """Measure how well the model predicts users' choices from a few of their other choices, beside its controls."""
    ks = _parse_ks(k)
    out = prepare_out(out, own="results.json", overwrite=overwrite)
    folder = find_model(model)
    with progress(f"reading {data}") as report:
        table = read_rows(data, skip_bad_rows, columns, format)
        from tacit.workflows.assessment import assess, load_with_control

        report.phase(f"loading {model}")
        reward, pooled = load_with_control(folder)
        assessment = assess(reward, table, pooled=pooled, ks=ks, seed=seed, on_event=report.event)
        report.phase(f"writing {out}")
        written = [str(path) for path in assessment.write(out)]
    met = ", ".join(f"{n['seen']} seen and {n['unseen']} unseen {what}" for what, n in assessment.met.items())
    view = [_by_method(assessment.report), _by_part(assessment.report), met, f"written: {', '.join(written)}"]
    return Result(assessment.to_json() | {"written": written}, view)


def _parse_ks(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and int(part[:8]) <= _LARGEST_K and len(part) < 8 for part in parts):
        raise ConfigError(f"--k {text!r}: expected whole numbers from 0 to {_LARGEST_K}, such as --k 0,1,3,10")
    return [int(part) for part in parts]


def _by_method(report: "Report") -> "Table":
    """Accuracy by k of the model and its controls, and what is gained over the pooled reward."""
    from rich.table import Table

    table = Table(title="accuracy, %, with 95 % intervals over users", title_justify="left")
    for name in ("k", "users", *report.methods, *(["gain over pooled"] if "pooled" in report.gain else [])):
        table.add_column(name, justify="right", no_wrap=name == "model")
    for number, users in report.n_users.items():
        cells = [_cell(method.values["accuracy"].get(number)) for method in report.methods.values()]
        low, high = report.model.interval["accuracy"].get(number, (float("nan"),) * 2)
        cells[0] += f" [{100 * low:.1f}, {100 * high:.1f}]" if users else ""
        if "pooled" in report.gain:
            cells.append(_cell(report.gain["pooled"]["accuracy"].get(number), "+"))
        table.add_row(str(number), str(users), *cells)
    return table


def _by_part(report: "Report") -> "Table":
    """Accuracy by part of the data and k."""
    from rich.table import Table

    table = Table(title="accuracy, %, by what was seen in training", title_justify="left")
    table.add_column("part")
    for number in report.n_users:
        table.add_column(f"k = {number}", justify="right")
    for name, part in report.parts.items():
        table.add_row(name.replace("_", " "), *(_cell(part.model["accuracy"].get(n)) for n in report.n_users))
    return table


def _cell(value: float | None, sign: str = "") -> str:
    return "n/a" if value is None else f"{100 * value:{sign}.1f}"
