"""An embedding killed at its worst moments goes on where it stood and ends with the same bytes."""

import json
import signal
import subprocess
import sys
import time

import pytest

from tacit.embedders import HashEmbedder, ItemStore

ITEMS = [(f"prompt {i % 7}", f"response number {i} of many") for i in range(120)]
EMBED = """
import sys, time
from tacit.embedders import HashEmbedder, ItemStore
class Slow(HashEmbedder):
    def embed(self, items):
        time.sleep(0.05)
        return super().embed(items)
slow = Slow(64)
items = [(f"prompt {i % 7}", f"response number {i} of many") for i in range(120)]
store = ItemStore.open(sys.argv[1], slow)
store.add(items, slow, chunk_items=8, progress=lambda done, total: print(done, flush=True))
"""
HALF_WRITTEN = """
import os, signal
import tacit.embedders.rows as rows
write, calls = rows._extend, []
def killed(path, committed, data):
    calls.append(path)
    if len(calls) == 6:  # the keys of the third chunk: its vectors are written, its header is not
        write(path, committed, data[: len(data) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    write(path, committed, data)
rows._extend = killed
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    ItemStore.open(folder, HashEmbedder(64)).add(ITEMS, HashEmbedder(64), chunk_items=8)
    return folder


def assert_resumes(folder, whole, committed):
    assert len(ItemStore.open(folder)) == committed
    store = ItemStore.open(folder, HashEmbedder(64))
    done = []
    store.add(ITEMS, HashEmbedder(64), chunk_items=8, progress=lambda _, total: done.append(total))
    assert done[0] == len(ITEMS) - committed, "only what was missing is embedded"
    for name in ("vectors.f16", "keys.bin"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()


def test_killed_while_embedding(tmp_path, whole):
    process = subprocess.Popen([sys.executable, "-c", EMBED, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process, process.stdout:
        for line in process.stdout:
            if int(line) >= 24:
                break
        time.sleep(0.02)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    committed = json.loads((tmp_path / "store.json").read_text())["count"]
    assert 24 <= committed < len(ITEMS)
    assert_resumes(tmp_path, whole, committed)


def test_killed_in_the_middle_of_a_write(tmp_path, whole):
    process = subprocess.run([sys.executable, "-c", HALF_WRITTEN + EMBED, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.returncode == -signal.SIGKILL
    assert (tmp_path / "vectors.f16").stat().st_size == 24 * 64 * 2
    assert_resumes(tmp_path, whole, 16)
