"""kill -9 in the middle of training, then the same command again: the weights of a run that was never interrupted.

Both runs of a model on a pooled base are killed: the base's own, and then the personal one on top of it.
"""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from reward_problems import problem, short, small

from tacit.errors import OutputError
from tacit.rewards import fit_reward

PROGRAM = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from reward_problems import problem, short, small
from tacit.rewards import fit_reward
from tacit.training import checkpoint

run, step, checkpoint.SECONDS = sys.argv[3], int(sys.argv[4]), float(sys.argv[5])

def on_event(event):
    if event["event"] == "step" and event["name"] == run and event["step"] == step:
        os.kill(os.getpid(), signal.SIGKILL)

fit_reward(**problem(users=24).settings(), config=small(dropout=0.1), training=short(steps=30, validate_every=5),
           folder=Path(sys.argv[2]), on_event=on_event)
"""


def kill(folder: Path, run: str, *, step: int, seconds: float) -> None:
    command = [sys.executable, "-c", PROGRAM, str(Path(__file__).parent), folder, run, step, seconds]
    assert subprocess.run([str(word) for word in command], check=False).returncode == -signal.SIGKILL


@pytest.mark.parametrize("run", ["base", "reward"])
def test_a_killed_run_resumes_bit_for_bit(run: str, tmp_path: Path) -> None:
    settings = problem(users=24).settings() | {"config": small(dropout=0.1)}
    training = short(steps=30, validate_every=5)
    whole = fit_reward(**settings, training=training, folder=tmp_path / "whole")
    kill(tmp_path / "killed", run, step=17, seconds=60)

    with pytest.raises(OutputError, match="other data or settings"):
        fit_reward(**settings, training=short(steps=30, validate_every=5, seed=1), folder=tmp_path / "killed")
    other = settings | {"validation": problem(users=24, seed=1).validation}
    with pytest.raises(OutputError, match="other data or settings"):
        fit_reward(**other, training=training, folder=tmp_path / "killed")

    steps: dict[str, list[int]] = {"base": [], "reward": []}
    resumed = fit_reward(
        **settings, training=training, folder=tmp_path / "killed",
        on_event=lambda e: steps[e["name"]].append(e["step"]) if e["event"] == "step" else None,
    )  # fmt: skip
    late, all_of_them = list(range(16, 31)), list(range(1, 31))
    assert steps == ({"base": late, "reward": all_of_them} if run == "base" else {"base": [], "reward": late})
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name
    assert resumed.temperature == whole.temperature
    assert {**resumed.notes, "seconds": 0} == {**whole.notes, "seconds": 0}
    for place, name in ((tmp_path / "killed", "reward"), (tmp_path / "killed" / "base", "base")):
        lines = [json.loads(line) for line in (place / "metrics.jsonl").read_text().splitlines()]
        assert [(line["name"], line["step"]) for line in lines] == [(name, step) for step in (5, 10, 15, 20, 25, 30)]


@pytest.mark.parametrize(("step", "first"), [(3, 3), (18, 18)], ids=["before the first validation", "between two"])
def test_a_run_killed_between_validations_loses_what_followed_its_last_checkpoint(
    step: int, first: int, tmp_path: Path
) -> None:
    """Checkpoints are written in time too, here after every step; a line of metrics averages all its steps' losses."""
    settings = problem(users=24).settings() | {"config": small(dropout=0.1)}
    training = short(steps=30, validate_every=5)
    whole = fit_reward(**settings, training=training, folder=tmp_path / "whole")
    kill(tmp_path / "killed", "reward", step=step, seconds=0)
    steps: list[int] = []
    resumed = fit_reward(
        **settings, training=training, folder=tmp_path / "killed",
        on_event=lambda e: steps.append(e["step"]) if (e["event"], e["name"]) == ("step", "reward") else None,
    )  # fmt: skip
    assert steps == list(range(first, 31))
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name
    assert {**resumed.notes, "seconds": 0} == {**whole.notes, "seconds": 0}
    ours, theirs = (
        [json.loads(line) | {"seconds": 0} for line in (tmp_path / run / "metrics.jsonl").read_text().splitlines()]
        for run in ("killed", "whole")
    )
    assert ours == theirs
