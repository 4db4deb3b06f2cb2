import json
import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from tacit.errors import ConfigError
from tacit.events import counting
from tacit.training.run_log import RunLog


def event(kind: str, step: int, **numbers: float) -> dict:
    return {"event": kind, "name": "reward", "step": step, "steps": 9, **numbers}


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_validation_numbers_reach_the_tracker(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple] = []
    run = types.SimpleNamespace(
        log=lambda numbers, step, **_: calls.append(("log", step, numbers)), finish=lambda: calls.append(("finish",))
    )
    fake = types.ModuleType(name)
    fake.__spec__ = ModuleSpec(name, None)  # accelerate asks whether it is installed
    fake.init = lambda **settings: (calls.append(("init", settings["project"], settings["name"])), run)[1]
    monkeypatch.setitem(sys.modules, name, fake)
    log = RunLog("reward", None)
    log.begin(0, [name])
    log(event("start", 0))
    log(event("step", 1))
    log(event("validation", 5, nll=0.5, seconds=3.0))
    log(event("end", 9, seconds=4.0))
    assert calls == [("init", "tacit", "reward"), ("log", 5, {"reward/nll": 0.5}), ("finish",)]


def test_tensorboard_writes_beside_the_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    writer = types.SimpleNamespace(
        add_scalar=lambda *args, **_: made.append(args), add_scalars=None, flush=lambda: None, close=lambda: None
    )
    fake = types.ModuleType("torch.utils.tensorboard")
    fake.SummaryWriter = lambda folder: (made.append(folder), writer)[1]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", fake)
    monkeypatch.setattr("torch.utils.tensorboard", fake, raising=False)
    log = RunLog("reward", tmp_path)
    log.begin(0, ["tensorboard"])
    log(event("validation", 5, nll=0.5))
    assert made == [str(tmp_path / "tensorboard"), ("reward/nll", 0.5)]


def test_a_tracker_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trackio", None)
    with pytest.raises(ConfigError, match="pip install trackio"):
        RunLog("reward", None).begin(0, ["trackio"])


def test_lines_are_kept_up_to_where_a_run_goes_on(tmp_path: Path) -> None:
    heard: list[dict] = []
    log = RunLog("reward", tmp_path, heard.append)
    log.begin(0)
    for step in (1, 2, 3):
        log(event("step", step))
        log(event("validation", step, nll=float(step)))
    log(event("log", 3, loss=1.0))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"name": "reward", "st')  # cut by a kill
    again = RunLog("reward", tmp_path)
    again.begin(2)
    again(event("validation", 3, nll=7.0))
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["nll"]) for line in lines] == [(1, 1.0), (2, 2.0), (3, 7.0)]
    assert [line["event"] for line in heard] == ["step", "validation"] * 3 + ["log"]


def test_another_process_says_nothing(tmp_path: Path) -> None:
    heard: list[dict] = []
    log = RunLog("reward", tmp_path, heard.append)
    log.begin(0, ["wandb"], here=False)
    log(event("validation", 1, nll=1.0))
    assert (heard, list(tmp_path.iterdir())) == ([], [])


def test_counting_tells_how_far_work_is() -> None:
    heard: list[dict] = []
    count = counting(heard.append, "writing")
    assert count is not None
    count(3, 10)
    assert heard == [{"event": "progress", "name": "writing", "step": 3, "steps": 10}]
    assert counting(None, "writing") is None
