"""`tacit embed`: every item of a preference file embedded once, into a store."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from tacit.cli._options import Data, EmbedderName, Seed
from tacit.cli._progress import progress
from tacit.cli._result import Result
from tacit.cli._rows import Format, Map, SkipBadRows, read_rows

__all__ = ["EXAMPLE", "embed"]

EXAMPLE = "tacit embed data.jsonl --store items/ --embedder minilm"


def embed(
    data: Data,
    store: Annotated[Path, typer.Option("--store", metavar="DIR", help="Item store to make or extend.")],
    embedder: EmbedderName = None,
    columns: Map = None,
    format: Format = None,  # noqa: A002
    skip_bad_rows: SkipBadRows = False,
    seed: Seed = 0,
) -> Result:
    """Embed every distinct (prompt, response) of DATA once; interrupted, it goes on where it stood.

    Nothing here is random; --seed is taken because every verb takes it.
    """
    with progress(f"reading {data}") as report:
        table = read_rows(data, skip_bad_rows, columns, format)
        from tacit.embedders.table import table_embedder
        from tacit.workflows.embed import embed_items

        report.phase("embedding")
        chosen = table_embedder(table, embedder)
        done = embed_items(table, chosen, store, progress=report)
    view = [
        f"{done.items} items in {data}, {done.new} of them new: embedded by {chosen.name} "
        f"({chosen.dim} dimensions) in {done.seconds:.1f} s",
        f"{done.windowed} responses were longer than one window and read in several; {done.cut_prompts} prompts were "
        "cut from the left to fit",
        f"written: {store} ({done.stored} items in all)",
    ]
    data_out = {"store": str(store), "embedder": chosen.name, "dimensions": chosen.dim, **asdict(done)}
    return Result(data_out, view)
