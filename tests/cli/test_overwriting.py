"""A finished --out is replaced on request only, two runs never write one place, and an interrupted run goes on."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from bad_input import Case, refuses
from cli_world import TINY, Run, small_rows, write_rows
from filelock import FileLock

TRAIN = ["train-reward", "data.jsonl", "--out", "out", "--embedder", "hash", *TINY]
MODEL = "{base}/model"
FOLDERS = {  # the verb, and the file by which its finished folder is known
    " ".join(TRAIN): "pooled/config.json",
    f"evaluate {MODEL} one.jsonl --out out --k 0,1": "results.json",
    "audit data.jsonl --out out --embedder hash": "audit.json",
    "synthetic --out out": "results.json",
    "demo --fast --out out": "results.json",
    f"train-policy data.jsonl --base base --reward {MODEL} --out out": "reward/config.json",
    "export policy --out out": "adapter_config.json",
    "benchmark --data data.jsonl --out out": "benchmark.json",
}
FILES = {
    f"infer {MODEL} one.jsonl --out out.json": "encoder",
    f"score {MODEL} --profile profile.json items.jsonl --out out.json": "ranking",
    f"add profile.json one.jsonl --model {MODEL} --out out.json": "encoder",
    "generate policy --prompt Hi --out out.json": "answers",
}


@pytest.mark.parametrize("command", [*FOLDERS, *FILES])
def test_what_is_finished_is_refused(command: str, run: Run, work: Path, base: Path) -> None:
    def finished(work: Path, base: Path) -> None:
        place = work / "out" / FOLDERS[command] if command in FOLDERS else work / "out.json"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps({FILES.get(command, "kept"): 1}))

    refuses(Case("", command, ("--out out", "--overwrite"), finished), run, work, base)


@pytest.mark.parametrize("command", [*FOLDERS, *FILES])
def test_a_second_writer_is_refused(command: str, run: Run, work: Path, base: Path) -> None:
    name = "out" if command in FOLDERS else "out.json"
    with FileLock(work / f".{name}.lock"):
        refuses(Case("", f"{command} --overwrite", (str(work / name), "another run")), run, work, base)


def test_benchmark_keeps_its_cache_and_replaces_its_table_on_request(run: Run, work: Path) -> None:
    rows = [
        row | {"user_id": f"{row['user_id']}-{part}", "prompt": f"{row['prompt']}{part}"}
        for part in range(6) for row in small_rows(vectors=True)
    ]  # fmt: skip
    write_rows(work / "many.jsonl", rows)
    command = ("benchmark", "--data", "many.jsonl", "--method", "btl", "--workers", 1, "--out", "out")
    assert run(*command)[0] == 0
    cells = {path: path.stat().st_mtime_ns for path in (work / "out" / "cache").rglob("*.safetensors")}
    code, _, err = run(*command)
    assert (code, "--overwrite" in err) == (2, True)
    (work / "out" / "benchmark.json").unlink()  # as an interrupted one leaves it
    assert run(*command)[0] == 0
    assert run(*command, "--overwrite")[0] == 0
    assert cells
    assert cells == {path: path.stat().st_mtime_ns for path in (work / "out" / "cache").rglob("*.safetensors")}


def test_overwriting_replaces_the_model_and_an_unfinished_run_of_other_settings(
    run: Run, work: Path, base: Path
) -> None:
    shutil.copytree(base / "stopped.partial", work / "out.partial")
    code, _, err = run(*TRAIN, "--seed", 5)
    assert (code, "unfinished run" in err) == (2, True)
    assert run(*TRAIN, "--seed", 5, "--overwrite")[0] == 0
    first = (work / "out" / "model.safetensors").read_bytes()
    assert run(*TRAIN, "--overwrite")[0] == 0
    assert (work / "out" / "model.safetensors").read_bytes() != first
    assert (work / "out" / "model.safetensors").read_bytes() == (base / "model" / "model.safetensors").read_bytes()
    assert [path.name for path in work.glob("*out*")] + [path.name for path in work.glob(".*")] == ["out"]


PAUSED = """
import sys, time, tacit.training.loop as loop
from tacit.cli import main
write = loop.write_checkpoint
def write_and_wait(*arguments):
    write(*arguments)
    print("training", flush=True)
    time.sleep(600)
loop.write_checkpoint = write_and_wait
main(sys.argv[1:])
"""


def test_a_run_beside_a_running_one_is_refused_and_goes_on_from_it_when_that_is_killed(
    run: Run, work: Path, base: Path
) -> None:
    with subprocess.Popen([sys.executable, "-c", PAUSED, *TRAIN], stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        first.stdout.readline()
        refuses(Case("", " ".join(TRAIN), (str(work / "out"), "another run")), run, work, base)
        first.send_signal(signal.SIGKILL)
    assert (work / "out.partial").is_dir()
    assert run(*TRAIN)[0] == 0
    assert (work / "out" / "model.safetensors").read_bytes() == (base / "model" / "model.safetensors").read_bytes()
    assert not list(work.glob(".*"))


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_all_files_of_a_run_have_one_mode(umask: int, run: Run, work: Path, base: Path) -> None:
    before = os.umask(umask)
    try:
        assert run(*TRAIN, "--store", "items")[0] == 0
        assert run("evaluate", "out", "one.jsonl", "--out", "results", "--k", "0,1")[0] == 0
        assert run("infer", "out", "one.jsonl", "--out", "new.json")[0] == 0
    finally:
        os.umask(before)
    files = [path for name in ("out", "items", "results") for path in (work / name).rglob("*") if path.is_file()]
    modes = {str(path): stat.S_IMODE(path.stat().st_mode) for path in (*files, work / "new.json")}
    assert len(modes) > 10
    assert set(modes.values()) == {0o666 & ~umask}, modes
