"""kill -9 in the middle of training, then the same call again: the weights of a run that was never interrupted."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from policy_problems import camps, fit, short, weights

from tacit.engines import Base
from tacit.steering import SteerablePolicy

TRAINING = {
    "step": short(max_steps=10, eval_steps=2),
    "between": short(max_steps=10, eval_steps=2),
    "validation": short(max_steps=10, eval_steps=2),
    "writing": short(max_steps=10, eval_steps=2),
    "end": short(max_steps=10, eval_steps=2),
    "taught": short(max_steps=10, eval_steps=2, teacher="reward"),
}
LATE = {"step": 6, "between": 7, "validation": 4, "writing": 4, "end": 10, "taught": 6}
"""Where a run goes on that was killed at each of these moments."""

PROGRAM = """
import os, signal, sys
from pathlib import Path
tests, folder, base, *moments = sys.argv[1:]
sys.path[:0] = [tests, str(Path(tests).parent)]
import tacit.policies.trainer as trainer
from policy_problems import fit
from test_fit_policy_kill import TRAINING
from tacit.engines import load_base
from tacit.training import checkpoint

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def train(moment):
    real, written = trainer.write_checkpoint, []
    checkpoint.SECONDS = 0 if moment == "between" else 60

    def write(*arguments):
        real(*arguments)
        written.append(1)
        if moment == "writing" and len(written) == 3:
            die()

    def on_event(event):
        at = (event["event"], event["name"], event["step"])
        late, later = ("step", "policy", 7), ("step", "policy", 8)
        when = {"step": late, "taught": late, "between": later, "validation": ("validation", "policy", 6)}
        if at == when.get(moment):
            die()
        if moment == "end" and event["event"] == "end":
            die()

    trainer.write_checkpoint = write
    fit(load_base(base), Path(folder) / moment, training=TRAINING[moment], on_event=on_event)

for moment in moments:  # a process of its own each, that need not import everything again
    process = os.fork()
    if process == 0:
        try:
            train(moment)
        finally:
            os._exit(1)
    _, status = os.waitpid(process, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, (moment, status)
"""


@pytest.fixture(scope="module")
def killed(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the folders of runs killed at each moment."""
    folder, here = tmp_path_factory.mktemp("killed"), str(Path(__file__).parent)
    command = [sys.executable, "-c", PROGRAM, here, str(folder), str(base_folder), *TRAINING]
    subprocess.run(command, check=True)
    return folder


class Noted:
    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def __call__(self, event: dict[str, Any]) -> None:
        self.events.append(event)

    def steps(self) -> list[int]:
        return [e["step"] for e in self.events if (e["event"], e["name"]) == ("step", "policy")]


def timeless(policy: SteerablePolicy) -> dict[str, Any]:
    return {**policy.notes, "seconds": 0}


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[SteerablePolicy, Path]]:
    """Runs that nobody interrupted."""
    from tacit.engines import load_base

    found = {}
    for kind in ("step", "taught"):
        folder = tmp_path_factory.mktemp("whole")
        found[kind] = fit(load_base(str(base_folder)), folder, training=TRAINING[kind]), folder
    return found


@pytest.mark.parametrize("moment", TRAINING)
def test_a_killed_run_resumes_bit_for_bit(
    moment: str, base: Base, killed: Path, whole: dict[str, tuple[SteerablePolicy, Path]]
) -> None:
    expected, folder = whole.get(moment, whole["step"])
    left = {path.name for path in (killed / moment).iterdir()}
    assert left >= {"checkpoint", "metrics.jsonl", "reference.safetensors"}
    assert (len(left) > 3) == (moment == "writing"), "the kill was not in the middle of writing"

    noted = Noted()
    resumed = fit(base, killed / moment, training=TRAINING[moment], on_event=noted)
    assert noted.steps() == list(range(LATE[moment] + 1, 11))
    assert [e["step"] for e in noted.events if e["event"] == "start"] == [LATE[moment]]
    assert weights(resumed).equal(weights(expected))
    assert resumed.modulator.unit.equal(expected.modulator.unit)
    assert timeless(resumed) == timeless(expected)
    ours, theirs = lines(killed / moment), lines(folder)
    if moment == "between":  # the mean loss of a line is of the steps since the run went on
        ours, theirs = (
            [line for line in some if (line["step"], "grad_norm" in line) != (8, True)] for some in (ours, theirs)
        )
    assert ours == theirs
    assert [line["step"] for line in lines(folder)] == [s for s in range(2, 11, 2) for _ in range(2)]


def test_what_a_kill_left_is_not_taken_up_by_another_run(base: Base, killed: Path) -> None:
    """After all those above: the folder's own run is finished there."""
    noted = Noted()
    changed = fit(base, killed / "step", camps(seed=1), training=TRAINING["step"], on_event=noted, restart=True)
    assert noted.steps() == list(range(1, 11))
    assert changed.notes["steps"] == 10
