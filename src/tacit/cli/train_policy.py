"""`tacit train-policy`: from preferences and a reward model to a language model that answers each user their way."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import BaseModel, ConfigDict

from tacit.cli._config import ConfigFile, PrintConfig, Settings, config_result, read_config
from tacit.cli._options import Device, LateData, Precision, SeedOverride, find_model
from tacit.cli._paths import Overwrite, prepare_out
from tacit.cli._progress import progress
from tacit.cli._result import Result
from tacit.cli._rows import Format, Map, SkipBadRows, read_rows
from tacit.errors import ConfigError
from tacit.policies.training_config import PolicyTrainingConfig
from tacit.steering.config import PolicyConfig

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["EXAMPLE", "TrainPolicyConfig", "train_policy"]

EXAMPLE = "tacit train-policy data.jsonl --base Qwen/Qwen2.5-0.5B-Instruct --reward model/ --out policy/"


class TrainPolicyConfig(BaseModel):
    """All settings of `tacit train-policy`, in two sections."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: PolicyConfig = PolicyConfig()
    training: PolicyTrainingConfig = PolicyTrainingConfig()


def train_policy(
    data: LateData = None,
    base: Annotated[
        str | None, typer.Option("--base", metavar="MODEL", help="A causal language model: a path or a hub name.")
    ] = None,
    reward: Annotated[
        str | None, typer.Option("--reward", metavar="DIR", help="A reward model of `tacit train-reward`.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Folder for the policy.")] = None,
    config: ConfigFile = None,
    settings: Settings = None,
    device: Device = None,
    dtype: Precision = None,
    columns: Map = None,
    format: Format = None,  # noqa: A002
    skip_bad_rows: SkipBadRows = False,
    print_config: PrintConfig = False,
    overwrite: Overwrite = False,
    seed: SeedOverride = None,
) -> Result:
    """Train a modulator on a language model, so that a few choices steer what it writes (NP-DPO).

    A run that was killed goes on where it stood when the same command is given again.
    """
    chosen = [*(settings or ()), *([] if seed is None else [f"training.seed={seed}"])]
    configured = read_config(TrainPolicyConfig, config, chosen)
    if print_config:
        return config_result(configured)
    if data is None or base is None or reward is None or out is None:
        raise ConfigError("expected DATA, --base MODEL, --reward DIR and --out DIR; see `tacit train-policy --help`")
    out = prepare_out(out, own="reward/config.json", overwrite=overwrite, whole=True)
    started = time.perf_counter()
    folder = find_model(reward)
    with progress(f"reading {data}") as report:
        table = read_rows(data, skip_bad_rows, columns, format)
        from tacit.rewards.model import RewardModel
        from tacit.workflows.policy import train_policy as train

        model = RewardModel.load(folder)
        report.phase("training")
        policy = train(
            table, model, base, out, config=configured.policy, training=configured.training, device=device,
            dtype=dtype, skip_bad_rows=skip_bad_rows, overwrite=overwrite, on_event=report.event,
        )  # fmt: skip
    notes = policy.notes
    found = {key.removeprefix("validation_"): value for key, value in notes.items() if key.startswith("validation_")}
    result: dict[str, Any] = {
        "out": str(out),
        "data": notes["data"],
        "base": {"name": policy.base.name, "weights": notes["base_weights"]},
        "modulator": {"kind": configured.policy.modulator.kind, "weights": policy.modulator.parameter_count()},
        "answers_written": notes["answers_written"],
        "steps": notes["steps"],
        "best_step": notes["best_step"],
        "validation": found,
        "seconds": time.perf_counter() - started,
    }
    summary = (
        f"{result['modulator']['kind']} of {result['modulator']['weights']:,} weights on {policy.base.name} "
        f"({result['base']['weights']:,})"
    )
    if result["answers_written"]:
        summary += f", taught with {result['answers_written']:,} answers that the base wrote"
    return Result(result, [summary, _table(found), f"written: {out} ({result['seconds']:.0f} s)"])


def _table(found: dict[str, float]) -> "Table":
    """Implicit-reward accuracy on validation users."""
    from rich.table import Table

    table = Table(title="on validation users: how often the policy favours what they chose", title_justify="left")
    table.add_column("")
    table.add_column("accuracy, %", justify="right")
    names = {f"accuracy_k{k}": f"k = {k}" for k in (0, 1, 5, 10)}
    names |= {"accuracy_one_side": "k = 10, users of one side", "accuracy_other_side": "k = 10, of the other"}
    for key, name in names.items():
        if key in found:
            table.add_row(name, f"{100 * found[key]:.1f}")
    return table
