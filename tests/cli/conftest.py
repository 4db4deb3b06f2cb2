"""A small world of preferences in files and models trained on it, made once; and a way to run the command line."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_world import PROMPTS, TINY, Run, small_rows, write_rows

from tacit.cli import main


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run("score", ...)` -> (exit code, stdout, stderr), without the lines of progress that a slow machine gets."""
    monkeypatch.setattr("tacit.cli._progress._SECONDS_BETWEEN_LINES", float("inf"))

    def run(*argv: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(word) for word in argv])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """data.jsonl, one.jsonl (choices of u1), items.jsonl, model/, profile.json, other/ + other.json (another model and
    its profile), vdata.jsonl + vmodel/ (vectors in the data), store/ (of the hash embedder), and stopped.partial/ (a
    run that was interrupted).
    """
    folder = tmp_path_factory.mktemp("base")
    rows = small_rows()
    data = write_rows(folder / "data.jsonl", rows)
    one = write_rows(folder / "one.jsonl", [row for row in rows if row["user_id"] == "u1"])
    vdata = write_rows(folder / "vdata.jsonl", small_rows(vectors=True))
    write_rows(folder / "items.jsonl", [{"prompt": r["prompt"], "response": r["chosen"]} for r in rows[: 2 * PROMPTS]])
    commands = [
        ["train-reward", data, "--out", folder / "model", "--embedder", "hash", "--store", folder / "store", *TINY],
        ["train-reward", data, "--out", folder / "other", "--embedder", "hash", "--seed", "1", *TINY],
        ["train-reward", vdata, "--out", folder / "vmodel", *TINY],
        ["infer", folder / "model", one, "--out", folder / "profile.json"],
        ["infer", folder / "other", one, "--out", folder / "other.json"],
    ]
    for command in commands:
        assert main([str(word) for word in command]) == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tacit.training.loop.write_checkpoint", _interrupting())
        stopped = ["train-reward", data, "--out", folder / "stopped", "--embedder", "hash", *TINY]
        assert main([str(word) for word in stopped]) == 130
    assert not (folder / "stopped").exists()
    return folder


def _interrupting() -> Callable[..., None]:
    from tacit.training.checkpoint import write_checkpoint

    def write_and_interrupt(*arguments: Any) -> None:
        write_checkpoint(*arguments)
        raise KeyboardInterrupt

    return write_and_interrupt


@pytest.fixture
def work(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one's own with copies of `base`'s small files; also the working directory."""
    for path in base.iterdir():
        if path.is_file():
            shutil.copy(path, tmp_path / path.name)
    monkeypatch.chdir(tmp_path)
    return tmp_path
