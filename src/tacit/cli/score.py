"""`tacit score`: answers ranked for the user of a profile."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from tacit.choices import read_items
from tacit.cli._options import Seed
from tacit.cli._paths import prepare_file
from tacit.cli._result import Result, shorten
from tacit.files import write_json
from tacit.recipes.users import ScoredItem, load_profile, score_items
from tacit.rewards import RewardModel

__all__ = ["EXAMPLE", "score"]

EXAMPLE = "tacit score model/ --profile profile.json items.jsonl"


def score(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Folder of `tacit train-reward`, or a hub name.")],
    items: Annotated[str, typer.Argument(metavar="ITEMS", help="Answers: columns prompt and response.")],
    profile: Annotated[Path, typer.Option("--profile", metavar="PROFILE.json", help="From `tacit infer`.")],
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="JSON file for the ranking.")] = None,
    seed: Seed = 0,
) -> Result:
    """Rank answers to each prompt for one user, beside what the population would say.

    Nothing here is random; --seed is taken because every verb takes it.
    """
    if out is not None:
        prepare_file(out, own="ranking")
    reward, state = RewardModel.load(model), load_profile(profile)
    ranked = score_items(reward, state, read_items(items))
    data = {"ranking": [asdict(item) for item in ranked]}
    if out is not None:
        write_json(out, data)
    return Result(data, [_table(ranked), *([] if out is None else [f"written: {out}"])])


def _table(ranked: list[ScoredItem]) -> Table:
    """One section per prompt, best first for the user."""
    table = Table(title="rewards in nats; only differences under one prompt mean something", title_justify="left")
    for name in ("rank", "score", "population's rank", "population's score"):
        table.add_column(name, justify="right")
    table.add_column("response")
    for number, item in enumerate(ranked):
        if item.rank == 1:
            table.add_row("", "", "", "", f"> {shorten(item.prompt)}")
        last = number + 1 == len(ranked) or ranked[number + 1].rank == 1
        table.add_row(
            str(item.rank), f"{item.score:.2f}", str(item.population_rank), f"{item.population_score:.2f}",
            shorten(item.response), end_section=last,
        )  # fmt: skip
    return table
