"""The Laplace encoder on a pooled base through every verb that touches a model."""

import json
from pathlib import Path

from cli_world import TINY, Run

SETTINGS = ("encoder.kind=laplace", "base=true", "encoder.components=2", "principal=8")


def test_train_infer_score_and_evaluate(run: Run, base: Path, tmp_path: Path) -> None:
    chosen = [word for setting in SETTINGS for word in ("--set", f"reward.{setting}")]
    model, profile = tmp_path / "model", tmp_path / "profile.json"
    commands = (
        ["train-reward", base / "data.jsonl", "--out", model, "--embedder", "hash", *TINY, *chosen],
        ["infer", model, base / "one.jsonl", "--out", profile],
        ["score", model, "--profile", profile, base / "items.jsonl"],
        ["evaluate", model, base / "data.jsonl", "--out", tmp_path / "report", "--k", "0,2"],
    )
    for command in commands:
        code, _, err = run(*command)
        assert code == 0, err
    found = json.loads((tmp_path / "report" / "results.json").read_text())
    stranger = found["model"]["accuracy"]["0"], found["controls"]["pooled"]["accuracy"]["0"]
    assert abs(stranger[0] - stranger[1]) < 0.02  # a stranger gets the pooled reward
    config = json.loads((model / "config.json").read_text())["reward"]
    assert (config["encoder"], config["base"]) == ({"kind": "laplace", "components": 2}, True)
