"""`tacit synthetic`: the paper's 1-D experiment."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tacit.cli._options import Out, Seed
from tacit.cli._paths import Overwrite, prepare_out
from tacit.cli._progress import progress
from tacit.cli._result import Result
from tacit.files import fill_folder, write_json

if TYPE_CHECKING:
    from rich.table import Table

    from tacit.workflows.synthetic import SyntheticResult

__all__ = ["EXAMPLE", "synthetic", "synthetic_table"]

EXAMPLE = "tacit synthetic --out synthetic/ --seeds 3"


def synthetic(
    out: Out = Path("synthetic"),
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="How many seeds, from --seed upwards.")] = 1,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Optimiser steps of NP-BTL; default: as tuned.")
    ] = None,
    overwrite: Overwrite = False,
    seed: Seed = 0,
) -> Result:
    """Train NP-BTL (predictive, deterministic, ELBO), BTL and DPL on the paper's 1-D task, beside the Bayes line."""
    out = prepare_out(out, own="results.json", overwrite=overwrite)
    from tacit.workflows.plots import plot_reward_curves, plot_synthetic_accuracy
    from tacit.workflows.synthetic import synthetic_experiment

    with progress("synthetic") as report:
        result = synthetic_experiment(range(seed, seed + seeds), steps=steps, on_event=report.event)
    data = result.to_json()
    with fill_folder(out, last="results.json") as new:
        plot_synthetic_accuracy(new / "accuracy.png", result)
        plot_reward_curves(new / "rewards.png", result.runs[0])
        write_json(new / "results.json", data)
    written = [str(out / name) for name in ("results.json", "accuracy.png", "rewards.png")]
    return Result(data | {"written": written}, [synthetic_table(result), f"written: {', '.join(written)}"])


def synthetic_table(result: "SyntheticResult") -> "Table":
    """Accuracy by k in percent, the Bayes-optimal line first, seconds of training last."""
    from rich.table import Table

    from tacit.workflows.plots import LABELS
    from tacit.workflows.synthetic import KS

    title = f"accuracy, %, on unseen pairs of unseen users; mean of {len(result.runs)} seed(s); s = seconds of training"
    table = Table(title=title, title_justify="left")
    table.add_column("method", no_wrap=True)
    for k in KS:
        table.add_column(f"k={k}", justify="right", no_wrap=True)
    table.add_column("s", justify="right", no_wrap=True)
    bayes = result.bayes_optimal()
    table.add_row("Bayes-optimal", *(f"{100 * bayes[k]:.2f}" for k in KS), "", end_section=True)
    for method in result.runs[0].reports:
        accuracy = result.accuracy(method)
        seconds = sum(run.seconds[method] for run in result.runs) / len(result.runs)
        table.add_row(LABELS[method], *(f"{100 * accuracy[k]:.2f}" for k in KS), f"{seconds:.0f}")
    return table
