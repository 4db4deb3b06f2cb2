import sys
import types

import pytest

from tacit.errors import ConfigError
from tacit.training.trackers import open_trackers


def test_validation_numbers_reach_the_tracker(monkeypatch):
    calls = []
    fake = types.ModuleType("wandb")
    fake.init = lambda **settings: calls.append(("init", settings["name"]))
    fake.log = lambda numbers, step: calls.append(("log", step, numbers))
    fake.finish = lambda: calls.append(("finish",))
    monkeypatch.setitem(sys.modules, "wandb", fake)
    send = open_trackers(["wandb"], "reward", None)
    send({"event": "start", "name": "reward", "step": 0, "steps": 9})
    send({"event": "validation", "name": "reward", "step": 5, "steps": 9, "nll": 0.5, "seconds": 3.0})
    send({"event": "end", "name": "reward", "step": 9, "steps": 9, "seconds": 4.0})
    assert calls == [("init", "reward"), ("log", 5, {"reward/nll": 0.5}), ("finish",)]


def test_a_tracker_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "trackio", None)
    with pytest.raises(ConfigError, match="pip install trackio"):
        open_trackers(["trackio"], "reward", None)
