"""`tacit score`: answers ranked for the user of a profile."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tacit.cli._options import ModelFolder, Seed, find_model
from tacit.cli._paths import Overwrite, prepare_file
from tacit.cli._progress import progress
from tacit.cli._result import Result, shorten
from tacit.cli._rows import Map, SkipBadRows, read_items
from tacit.cli._users import OfUser, Profile, check_profile

if TYPE_CHECKING:
    from rich.table import Table

    from tacit.users import Answer

__all__ = ["EXAMPLE", "score"]

EXAMPLE = "tacit score model/ --profile profile.json items.jsonl"
_SHOWN = 10


def score(
    model: ModelFolder,
    items: Annotated[str, typer.Argument(metavar="ITEMS", help="Answers: columns prompt and response.")],
    profile: Profile,
    user: OfUser = None,
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
    check_profile(profile, user)
    folder = find_model(model)
    asked: dict[str, list[tuple[str, str]]] = {}
    with progress(f"reading {items}") as report:
        for prompt, answer in read_items(items, skip_bad_rows, columns):
            asked.setdefault(prompt, []).append((prompt, answer))
        from tacit.files import write_json
        from tacit.rewards.model import RewardModel

        report.phase(f"loading {model}")
        known = RewardModel.load(folder).load_user(profile, user)
        report.phase("embedding")
        ranked = known.rank(asked, progress=report)
    data = {"ranking": [_plain(prompt, answer) for prompt, answers in ranked.items() for answer in answers]}
    if out is not None:
        write_json(out, data)
    return Result(data, [*_tables(ranked), *([] if out is None else [f"written: {out}"])])


def _plain(prompt: str, answer: "Answer") -> dict[str, Any]:
    from tacit.choices.conversation import prompt_said

    return {
        "prompt": prompt_said(prompt), "response": answer.text, "score": answer.score, "rank": answer.rank,
        "population_score": answer.population_score, "population_rank": answer.population_rank,
    }  # fmt: skip


def _tables(ranked: dict[str, list["Answer"]]) -> list["Table | str"]:
    """One table per prompt, best first for the user."""
    from rich.table import Table

    from tacit.choices.conversation import prompt_text

    view: list[Table | str] = [
        "in brackets: the population; scores are in nats and mean something under one prompt only"
    ]
    for prompt, answers in list(ranked.items())[:_SHOWN]:
        table = Table(title=shorten(prompt_text(prompt)), title_justify="left")
        table.add_column("rank", justify="right", no_wrap=True)
        table.add_column("score", justify="right", no_wrap=True)
        table.add_column("response")
        for each in answers:
            rank, score = f"{each.rank} ({each.population_rank})", f"{each.score:.2f} ({each.population_score:.2f})"
            table.add_row(rank, score, shorten(each.text))
        view.append(table)
    if len(ranked) > _SHOWN:
        view.append(f"and {len(ranked) - _SHOWN} prompts more: --json and --out give all")
    return view
