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

from tacit.errors import ModelFormatError
from tacit.rewards import fit_reward

PROGRAM = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from reward_problems import problem, short, small
from tacit.rewards import fit_reward

def on_event(event):
    if event["event"] == "step" and event["name"] == sys.argv[3] and event["step"] == 17:
        os.kill(os.getpid(), signal.SIGKILL)

fit_reward(**problem(users=24).settings(), config=small(dropout=0.1), training=short(steps=30, validate_every=5),
           folder=Path(sys.argv[2]), on_event=on_event)
"""


@pytest.mark.parametrize("run", ["base", "reward"])
def test_a_killed_run_resumes_bit_for_bit(run: str, tmp_path: Path) -> None:
    settings = problem(users=24).settings() | {"config": small(dropout=0.1)}
    training = short(steps=30, validate_every=5)
    whole = fit_reward(**settings, training=training, folder=tmp_path / "whole")
    killed = subprocess.run([sys.executable, "-c", PROGRAM, str(Path(__file__).parent), str(tmp_path / "killed"), run])
    assert killed.returncode == -signal.SIGKILL

    with pytest.raises(ModelFormatError, match="other data or settings"):
        fit_reward(**settings, training=short(steps=30, validate_every=5, seed=1), folder=tmp_path / "killed")
    other = settings | {"validation": problem(users=24, seed=1).validation}
    with pytest.raises(ModelFormatError, match="other data or settings"):
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
