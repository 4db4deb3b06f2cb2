"""`tacit benchmark`: every method on every dataset under one protocol, with controls."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tacit.cli._options import Out, Seed
from tacit.cli._paths import Overwrite, prepare_out
from tacit.cli._progress import progress
from tacit.cli._result import Result
from tacit.cli._rows import Format, Map, SkipBadRows, columns_of, read_rows
from tacit.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from tacit.evaluation.benchmark import Benchmark
    from tacit.evaluation.benchmark.datasets import Sources

__all__ = ["EXAMPLE", "benchmark"]

EXAMPLE = "tacit benchmark --data text-sphere --data polis-unseen --out benchmark/"
FAST = (("synthetic",), ("np_btl", "btl", "laplace", "mixture"), 1)
SEEDS, FULL_SEEDS = 3, 5
_FILES = (".jsonl", ".json", ".csv", ".tsv", ".gz", ".parquet")


def benchmark(
    out: Out,
    data: Annotated[
        list[str] | None,
        typer.Option("--data", metavar="NAME", help="A dataset, a preference file or a .toml of tasks; may repeat."),
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option("--method", metavar="NAME", help="A method, to run some only; may repeat.")
    ] = None,
    fast: Annotated[bool, typer.Option("--fast", help="One small dataset, four methods, one seed.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Five seeds instead of three.")] = False,
    tuning: Annotated[
        bool, typer.Option("--tune", help="Choose every method's settings on validation users; takes hours.")
    ] = False,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Processes; default: one a core.")] = None,
    cache: Annotated[
        Path | None, typer.Option("--cache", metavar="DIR", help="Where finished cells stay; default: OUT/cache.")
    ] = None,
    columns: Map = None,
    format: Format = None,  # noqa: A002
    skip_bad_rows: SkipBadRows = False,
    overwrite: Overwrite = False,
    seed: Seed = 0,
) -> Result:
    """Compare all methods on new users and new items; started again, it goes on where it was.

    Settings are those that --tune wrote to the same --out, else the dataset's own, else each method's first. Tables are
    of seeds --seed, --seed + 1, ... Real data are read from the folders under $TACIT_DATA; datasets whose folder is
    absent are left out.
    """
    if sum((fast, full, tuning)) > 1:
        raise ConfigError("--fast, --full and --tune exclude one another; give one")
    # Finished cells and tuned settings are there to be used again; only a finished table is not replaced unasked.
    out = prepare_out(out, own="benchmark.json", overwrite=overwrite or tuning, extends=("cache", "tuned.json"))
    from tacit.baselines import baselines

    folder = os.environ.get("TACIT_DATA")
    for name in data or ():
        if Path(name).suffix in _FILES:  # before anything heavy is imported
            read_rows(name, skip_bad_rows, columns, format)
    methods = method or list(FAST[1] if fast else baselines)
    for name in methods:
        if name not in baselines:
            raise ConfigError(f"--method {name!r} is unknown; choose from {', '.join(baselines)}")
    from tacit.evaluation.benchmark import read_tuned, run_benchmark, tune, tuned_on
    from tacit.evaluation.benchmark.datasets import DATASETS, Rows, Sources, expand

    rows = Rows(skip_bad_rows, format, tuple(sorted((columns_of(columns) or {}).items())))
    sources = Sources(Path(folder) if folder else None, cache or out / "cache", rows)
    if not data and not DATASETS:
        raise ConfigError("no dataset is installed; give a file of preferences with --data FILE")
    datasets = expand(data or list(FAST[0])) if data or fast else _present(sources)
    if tuning:
        with progress("tuning") as report:
            tuned = tune(datasets, methods, sources, workers=workers, progress=report, file=out / "tuned.json")
        return Result({"settings": tuned.settings, "origin": tuned.origin}, [f"written: {out / 'tuned.json'}"])
    count = FAST[2] if fast else FULL_SEEDS if full else SEEDS
    seeds = range(seed, seed + count)
    own = out / "tuned.json"
    settings = read_tuned(own) if own.exists() else tuned_on(datasets)
    with progress("benchmark") as report:
        found = run_benchmark(datasets, methods, seeds, sources, settings, workers=workers, progress=report)
    written = [str(path) for path in found.write(out)]
    return Result(found.to_json() | {"written": written}, [*_tables(found), f"written: {', '.join(written)}"])


def _present(sources: "Sources") -> list[str]:
    from tacit.evaluation.benchmark.datasets import DATASETS

    return [name for name, each in DATASETS.items() if each.needs is None or _has(sources, each.needs)]


def _has(sources: "Sources", folder: str) -> bool:
    return sources.data is not None and (sources.data / folder).is_dir()


def _tables(found: "Benchmark") -> list["Table"]:
    """One table for each dataset: accuracy by k, ours first."""
    from rich.table import Table

    from tacit.baselines import baselines

    tables = []
    for result in found.results.values():
        table = Table(title=f"{result.name}: accuracy, %", title_justify="left")
        table.add_column("method")
        for k in result.ks:
            table.add_column(f"k = {k}", justify="right")
        for name, method in result.methods.items():
            values = method.accuracy.tolist()
            leak = " (leaks)" if method.leaks else ""
            table.add_row(baselines[name].label + leak, *("n/a" if v != v else f"{100 * v:.1f}" for v in values))
        tables.append(table)
    return tables
