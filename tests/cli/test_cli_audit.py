"""`tacit audit` end to end: a file in, a verdict and its pages out."""

import json
from pathlib import Path

import pytest
from audit_rows import enough_rows
from cli_world import QUICK, Run, write_rows

AUDIT = ("audit", "data.jsonl", "--out", "audit", "--repeats", "2")
SET = [
    part
    for setting in (*QUICK, "training.steps=60", "training.validate_every=30", "training.learning_rate=0.02")
    for part in ("--set", setting)
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_rows(tmp_path / "data.jsonl", enough_rows(vectors=True))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_verdict_in_plain_words_and_the_files(run: Run, here: Path) -> None:
    code, out, err = run(*AUDIT, *SET)
    assert code == 0, err
    assert out.startswith("Personalising pays. After ")
    assert "gain, points" in out
    assert "95 % interval" in out
    names = ["audit.html", "audit.json", "audit.md", "audit.png", "metrics.jsonl"]
    assert sorted(path.name for path in (here / "audit").iterdir()) == names
    lines = [json.loads(line) for line in (here / "audit" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["name"] == "reward 2/2"] == [30, 60]
    assert (here / "audit" / "audit.html").read_text().count("Personalising pays.") >= 1
    code, again, err = run(*AUDIT, *SET, "--json", "--overwrite")
    assert code == 0, err
    result = json.loads(again)
    assert result["verdict"]["answer"] == "pays"
    assert result["embedder"] == "vectors"
    assert json.loads((here / "audit" / "audit.json").read_text())["gain"] == result["gain"]


def test_a_gain_that_nobody_could_reach_does_not_pay(run: Run, here: Path) -> None:
    code, out, _ = run(*AUDIT, *SET, "--min-gain", "100", "--repeats", "1")
    assert code == 0
    assert out.startswith("Personalising does not pay.")
    assert "below the 100 points you asked for" in out


def test_bad_rows_are_dropped_and_counted_on_request(run: Run, here: Path) -> None:
    with (here / "data.jsonl").open("a") as file:
        file.write('{"user_id": "u1", "prompt": "p", "chosen": "same", "rejected": "same"}\n')
    assert run(*AUDIT, *SET)[0] == 2
    assert not (here / "audit").exists()
    code, _, err = run(*AUDIT, *SET, "--repeats", "1", "--skip-bad-rows")
    assert code == 0, err
    assert "1 bad rows were skipped" in (here / "audit" / "audit.md").read_text()
