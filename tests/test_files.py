"""Writing: all or nothing, one mode for all files of a folder, and one writer at a time."""

import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tacit.errors import OutputError
from tacit.files import atomic_folder, fill_folder, locked, only_writer, write_bytes, write_json


@pytest.fixture(params=[0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_files_have_the_mode_that_the_umask_leaves(tmp_path: Path, umask: int) -> None:
    write_json(tmp_path / "new" / "a.json", {})
    with atomic_folder(tmp_path / "whole") as folder:
        write_bytes(folder / "ours", b"")
        (folder / "inside").mkdir()
        (folder / "inside" / "private").touch(0o600)  # as mkstemp and some writers of weights do
    (tmp_path / "filled").mkdir()
    with fill_folder(tmp_path / "filled", last="private") as folder:
        (folder / "private").touch(0o600)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 4
    assert {mode(path) for path in files} == {0o666 & ~umask}
    assert {mode(path) for path in tmp_path.rglob("*") if path.is_dir()} == {0o777 & ~umask}


def test_a_folder_is_filled_at_once_and_keeps_what_others_put_there(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def fail() -> None:
        with fill_folder(out, last="z.json") as new:
            (new / "a.txt").write_text("half")
            raise RuntimeError

    for attempt, there in (("first", []), ("second", ["a.txt", "notes.txt", "out", "z.json"])):
        with pytest.raises(RuntimeError):
            fail()
        assert sorted(path.name for path in tmp_path.rglob("*")) == there
        with fill_folder(out, last="z.json") as new:
            for name in ("z.json", "a.txt"):
                (new / name).write_text(attempt)
        (out / "notes.txt").write_text("mine")
    assert {path.name: path.read_text() for path in out.iterdir()} == {
        "a.txt": "second", "notes.txt": "mine", "z.json": "second",
    }  # fmt: skip


HOLD = """
import sys, time
from tacit.files import only_writer
with only_writer(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("name", ["out", "a/b/out", "profile.json"])
def test_another_process_is_kept_away_until_this_one_ends(tmp_path: Path, name: str) -> None:
    out = tmp_path / name
    with subprocess.Popen([sys.executable, "-c", HOLD, out], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(OutputError, match="is being written by another run") as caught, only_writer(out):
            pytest.fail("two writers")
        assert str(out) in str(caught.value)
        holder.send_signal(signal.SIGKILL)
    with only_writer(out):  # what the dead one left is in nobody's way
        pass
    assert not list(tmp_path.rglob(".*"))


def test_a_lock_leaves_nothing_behind_and_may_be_nested(tmp_path: Path) -> None:
    with only_writer(tmp_path / "a" / "out"):
        with only_writer(tmp_path / "a" / "b" / ".." / "out"):
            pass
        assert [path.name for path in (tmp_path / "a").iterdir()] == [".out.lock"]
    assert not list(tmp_path.iterdir())


def test_another_thread_is_another_writer(tmp_path: Path) -> None:
    found: list[Exception] = []

    def write() -> None:
        try:
            with only_writer(tmp_path / "out"):
                pass
        except OutputError as error:
            found.append(error)

    with only_writer(tmp_path / "out"):
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
    assert len(found) == 1


def test_a_folder_is_locked_from_inside_where_its_parent_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mounted").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)  # root may write anywhere
    with only_writer(tmp_path / "mounted"):
        assert [path.name for path in tmp_path.rglob(".*")] == [".lock"]


def test_of_several_processes_the_first_writes_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with only_writer(tmp_path / "out"):
        monkeypatch.setenv("RANK", "1")
        with only_writer(tmp_path / "out"):
            pass


def test_a_lock_may_be_waited_for(tmp_path: Path) -> None:
    order: list[str] = []

    def write() -> None:
        with locked(tmp_path / "lock", wait=True):
            order.append("second")

    with locked(tmp_path / "lock"):
        thread = threading.Thread(target=write)
        thread.start()
        thread.join(0.3)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
