"""`tacit score`: answers ranked for the user of a profile."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from tacit.choices.conversation import prompt_said, prompt_text
from tacit.cli._options import Seed
from tacit.cli._paths import Overwrite, prepare_file
from tacit.cli._progress import progress
from tacit.cli._result import Result, shorten
from tacit.cli._rows import Map, SkipBadRows, read_items
from tacit.files import write_json
from tacit.rewards import RewardModel
from tacit.workflows.users import ScoredItem, load_profile, score_items

__all__ = ["EXAMPLE", "score"]

EXAMPLE = "tacit score model/ --profile profile.json items.jsonl"

_SHOWN = 10


def score(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Folder of `tacit train-reward`, or a hub name.")],
    items: Annotated[str, typer.Argument(metavar="ITEMS", help="Answers: columns prompt and response.")],
    profile: Annotated[Path, typer.Option("--profile", metavar="PROFILE.json", help="From `tacit infer`.")],
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="JSON file for the ranking.")] = None,
    columns: Map = None,
    skip_bad_rows: SkipBadRows = False,
    overwrite: Overwrite = False,
    seed: Seed = 0,
) -> Result:
    """Rank answers to each prompt for one user, beside what the population would say.

    Nothing here is random; --seed is taken because every verb takes it.
    """
    if out is not None:
        prepare_file(out, own="ranking", overwrite=overwrite)
    with progress(f"loading {model}") as report:
        reward, state = RewardModel.load(model), load_profile(profile)
        wanted = read_items(items, skip_bad_rows, columns)
        report.phase("embedding")
        ranked = score_items(reward, state, wanted, progress=report)
    data = {"ranking": [asdict(item) | {"prompt": prompt_said(item.prompt)} for item in ranked]}
    if out is not None:
        write_json(out, data)
    return Result(data, [*_tables(ranked), *([] if out is None else [f"written: {out}"])])


def _tables(ranked: list[ScoredItem]) -> list[Table | str]:
    """One table per prompt, best first for the user."""
    prompts: dict[str, list[ScoredItem]] = {}
    for item in ranked:
        prompts.setdefault(item.prompt, []).append(item)
    view: list[Table | str] = [
        "in brackets: the population; scores are in nats and mean something under one prompt only"
    ]
    for prompt, items in list(prompts.items())[:_SHOWN]:
        table = Table(title=shorten(prompt_text(prompt)), title_justify="left")
        table.add_column("rank", justify="right", no_wrap=True)
        table.add_column("score", justify="right", no_wrap=True)
        table.add_column("response")
        for item in items:
            rank, score = f"{item.rank} ({item.population_rank})", f"{item.score:.2f} ({item.population_score:.2f})"
            table.add_row(rank, score, shorten(item.response))
        view.append(table)
    if len(prompts) > _SHOWN:
        view.append(f"and {len(prompts) - _SHOWN} prompts more: --json and --out give all")
    return view
