"""`tacit train-reward`: from a file of preferences to a reward model that follows the user."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import BaseModel, ConfigDict

from tacit.cli._config import ConfigFile, PrintConfig, Settings, config_result, read_config
from tacit.cli._options import EmbedderName, LateData, SeedOverride, Store
from tacit.cli._paths import Overwrite, prepare_out
from tacit.cli._progress import progress
from tacit.cli._result import Result
from tacit.cli._rows import Format, Map, SkipBadRows, read_rows
from tacit.errors import ConfigError
from tacit.rewards.config import RewardConfig
from tacit.training.config import TrainingConfig

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["EXAMPLE", "TrainRewardConfig", "train_reward"]

EXAMPLE = "tacit train-reward data.jsonl --out model/ --set training.steps=1000"
_VERDICTS = {
    "inert": "personalisation is inert: knowing the user does not help here (see the warning above)",
    "unclear": "validation users are too few to tell whether personalisation helps (see the warning above)",
}


class TrainRewardConfig(BaseModel):
    """All settings of `tacit train-reward`, in two sections."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reward: RewardConfig = RewardConfig()
    training: TrainingConfig = TrainingConfig()


def train_reward(
    data: LateData = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Folder for the model.")] = None,
    store: Store = None,
    embedder: EmbedderName = None,
    config: ConfigFile = None,
    settings: Settings = None,
    columns: Map = None,
    format: Format = None,  # noqa: A002
    skip_bad_rows: SkipBadRows = False,
    print_config: PrintConfig = False,
    overwrite: Overwrite = False,
    seed: SeedOverride = None,
) -> Result:
    """Train a reward model that adapts to a user from a few choices, with a pooled control beside it.

    A run that was killed goes on where it stood when the same command is given again.
    """
    chosen = [*(settings or ()), *([] if seed is None else [f"training.seed={seed}"])]
    configured = read_config(TrainRewardConfig, config, chosen)
    if print_config:
        return config_result(configured)
    if data is None or out is None:
        raise ConfigError("expected DATA and --out DIR; see `tacit train-reward --help`")
    out = prepare_out(out, own="pooled/config.json", overwrite=overwrite, whole=True)
    started = time.perf_counter()
    verdicts: list[str] = []
    with progress(f"reading {data}") as report:
        table = read_rows(data, skip_bad_rows, columns, format)
        from tacit.embedders.table import item_vectors, table_embedder
        from tacit.workflows.reward import plan_training
        from tacit.workflows.reward import train_reward as train

        plan_training(table, configured.reward, configured.training)  # to fail before hours of embedding
        report.phase("embedding")
        chosen_embedder = table_embedder(table, embedder)
        vectors = item_vectors(table, chosen_embedder, store, progress=report)
        report.phase("training")

        def on_event(event: dict[str, Any]) -> None:
            verdicts.extend([event["event"]] if event["event"] in _VERDICTS else [])
            report.event(event)

        trained = train(
            table,
            vectors,
            embedder=chosen_embedder,
            config=configured.reward,
            training=configured.training,
            out=out,
            overwrite=overwrite,
            on_event=on_event,
        )
    counts = table.describe()
    notes = {"personalised": trained.model.notes, "pooled": trained.pooled.notes}
    result = {
        "out": str(out),
        "data": counts,
        "embedder": {"name": chosen_embedder.name, "dimensions": chosen_embedder.dim},
        "validation": {
            name: {key: note[key] for key in ("steps", "best_step")}
            | {key: note[f"validation_{key}"] for key in ("accuracy", "nll")}
            for name, note in notes.items()
        },
        "inert": None if "unclear" in verdicts else "inert" in verdicts,
        "seconds": time.perf_counter() - started,
    }
    summary = (
        f"{counts['users']} users, {counts['choices']} choices, {counts['items']} items, {counts['prompts']} prompts; "
        f"embedder {chosen_embedder.name} ({chosen_embedder.dim} dimensions)"
    )
    view: list[Any] = [summary, _table(result["validation"])]
    view.extend(_VERDICTS[verdict] for verdict in verdicts)
    return Result(result, [*view, f"written: {out} ({result['seconds']:.0f} s)"])


def _table(validation: dict[str, dict[str, float]]) -> "Table":
    """Accuracy and NLL on validation users, context sizes mixed as in training."""
    from rich.table import Table

    table = Table(title="on validation users, k mixed as in training", title_justify="left")
    for name in ("", "steps", "best step", "accuracy, %", "NLL"):
        table.add_column(name, justify="right" if name else "left")
    for name, row in validation.items():
        cells = (str(row["steps"]), str(row["best_step"]), f"{100 * row['accuracy']:.1f}", f"{row['nll']:.3f}")
        table.add_row(name, *cells)
    return table
