"""Bad input to `tacit benchmark`: one clear line, exit code 2, nothing written."""

from pathlib import Path

import pytest
from cli_world import Run, write_rows


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--data", "nothing-like-it"], ("nothing-like-it", "neither a dataset nor a file", "text-sphere")),
        (["--data", "synthetic", "--method", "magic"], ("'magic'", "unknown", "np_btl")),
        (["--fast", "--tune"], ("--fast", "--tune", "exclude one another")),
        (["--data", "polis-unseen"], ("polis_bowling_green", "$TACIT_DATA")),
    ],
    ids=["dataset", "method", "modes", "absent data"],
)
def test_bad_input(argv: list[str], says: tuple[str, ...], run: Run, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("TACIT_DATA", str(tmp_path / "absent"))
    code, out, err = run("benchmark", *argv, "--out", tmp_path / "out")
    assert (code, out) == (2, ""), err
    assert err.count("\n") == 1
    assert all(part in err for part in says), err
    assert not (tmp_path / "out" / "benchmark.json").exists()


def test_a_folder_of_something_else_is_left_alone(run: Run, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("do not touch")
    code, _, err = run("benchmark", "--fast", "--out", tmp_path / "out")
    assert code == 2
    assert "is not empty" in err


def test_a_file_of_preferences_is_a_dataset(run: Run, tmp_path: Path) -> None:
    rows = [
        {"user_id": f"u{user}", "prompt": f"p{prompt}", "chosen": "yes" if user % 2 else "no",
         "rejected": "no" if user % 2 else "yes", "chosen_vector": [float(user % 2), prompt / 30, 1.0],
         "rejected_vector": [1.0 - user % 2, prompt / 30, 1.0]}
        for user in range(40) for prompt in range(30)
    ]  # fmt: skip
    data = write_rows(tmp_path / "data.jsonl", rows)
    code, out, err = run("benchmark", "--data", data, "--method", "btl", "--method", "knn", "--workers", 1,
                         "--out", tmp_path / "out")  # fmt: skip
    assert code == 0, err
    assert "pooled BTL" in out
    assert (tmp_path / "out" / "data.jsonl.png").exists()


@pytest.mark.parametrize("argv", [(), ("--fast",), ("--tune",)])
def test_without_datasets_a_file_is_asked_for(argv: tuple[str, ...], run: Run, tmp_path: Path, monkeypatch) -> None:
    from tacit.evaluation.benchmark.datasets import DATASETS

    monkeypatch.setattr(DATASETS, "_installed", dict)
    code, out, err = run("benchmark", *argv, "--out", tmp_path / "out")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "no dataset is installed; give a file of preferences with --data FILE" in err
