"""`tacit audit`: do these users disagree, and does personalising pay?"""

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import BaseModel, ConfigDict

from tacit.cli._config import ConfigFile, Settings, read_config
from tacit.cli._options import Data, EmbedderName, Out, Seed, Store
from tacit.cli._paths import Overwrite, prepare_out
from tacit.cli._progress import progress
from tacit.cli._result import Result
from tacit.cli._rows import Format, Map, SkipBadRows, read_rows
from tacit.evaluation.audit.config import AuditTraining, check_settings
from tacit.rewards.config import RewardConfig

if TYPE_CHECKING:
    from tacit.evaluation.audit import Audit

__all__ = ["EXAMPLE", "AuditConfig", "audit"]

EXAMPLE = "tacit audit data.jsonl --out audit/ --min-gain 1"


class AuditConfig(BaseModel):
    """All settings of `tacit audit`: those of `tacit train-reward`, with shorter training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reward: RewardConfig = RewardConfig()
    training: AuditTraining = AuditTraining()


def audit(
    data: Data,
    out: Out,
    min_gain: Annotated[
        float, typer.Option("--min-gain", metavar="POINTS", help="The smallest gain in accuracy worth having.")
    ] = 1.0,
    repeats: Annotated[int, typer.Option("--repeats", help="Times to divide users and prompts anew.")] = 3,
    store: Store = None,
    embedder: EmbedderName = None,
    config: ConfigFile = None,
    settings: Settings = None,
    columns: Map = None,
    format: Format = None,  # noqa: A002
    skip_bad_rows: SkipBadRows = False,
    overwrite: Overwrite = False,
    seed: Seed = 0,
) -> Result:
    """Say in plain words how much users disagree and what personalising buys: pays, does not pay, or cannot tell.

    Settings are those of `tacit train-reward`, with shorter training; --seed replaces their training.seed.
    """
    check_settings(min_gain=min_gain, repeats=repeats)
    configured = read_config(AuditConfig, config, settings)
    out = prepare_out(out, own="audit.json", overwrite=overwrite)
    started = time.perf_counter()
    with progress(f"reading {data}") as report:
        table = read_rows(data, skip_bad_rows, columns, format)
        from tacit.embedders.table import item_vectors, table_embedder
        from tacit.evaluation.audit.pages import write_audit
        from tacit.evaluation.audit.run import audit as run_audit
        from tacit.evaluation.audit.run import plan_audit

        plan_audit(table, repeats=repeats, seed=seed)  # to fail before hours of embedding
        report.phase("embedding")
        chosen = table_embedder(table, embedder)
        vectors = item_vectors(table, chosen, store, progress=report)
        report.phase("training")
        found = run_audit(
            table,
            vectors,
            min_gain=min_gain,
            repeats=repeats,
            seed=seed,
            config=configured.reward,
            training=configured.training,
            on_event=report.event,
        )
        report.phase(f"writing {out}")
        written = [str(path) for path in write_audit(found, out)]
    seconds = time.perf_counter() - started
    result = found.to_json() | {"embedder": chosen.name, "written": written, "seconds": seconds}
    return Result(result, [*_view(found), f"written: {', '.join(written)} ({seconds:.0f} s)"])


def _view(found: "Audit") -> list[Any]:
    """The verdict, what is wrong or missing, and the numbers by k."""
    from rich.table import Table

    from tacit.evaluation.audit.report import points, sentence, settle, warning

    table = Table(title="predicted right, %, by choices seen of a new user", title_justify="left")
    for name in ("choices", "users", "one model", "personalised", "gain, points"):
        table.add_column(name, justify="right")
    for k, gain in found.gain.items():
        level = (f"{found.level[k][name]:.1f}" for name in ("pooled", "model"))
        table.add_row(str(k), str(found.users[k]), *level, points(gain))
    return [sentence(found.verdict), *filter(None, (warning(found), settle(found))), table]
