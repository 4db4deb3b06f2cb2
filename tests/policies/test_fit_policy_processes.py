"""Two processes, half of every batch each, come to the weights of one."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from policy_problems import camp_reward, fit, short, weights
from torch.nn.utils import parameters_to_vector
from torch.testing import assert_close

from tacit.engines import Base

PROGRAM = """
import os, sys
from pathlib import Path
tests, folder, base, rate = sys.argv[1:]
sys.path[:0] = [tests, str(Path(tests).parent)]
import torch
from policy_problems import fit, short, weights
from torch.nn.utils import parameters_to_vector
from tacit.engines import load_base

heard = []
training = short(per_device_train_batch_size=2, encoder_learning_rate=float(rate))
policy = fit(load_base(base), Path(folder), training=training, on_event=heard.append)
assert torch.distributed.get_world_size() == 2
rank = torch.distributed.get_rank()
encoder = parameters_to_vector(policy.reward.network.parameters()).detach()
torch.save({"weights": weights(policy), "encoder": encoder}, f"{folder}-{rank}.pt")
Path(f"{folder}-{rank}.txt").write_text(str(sum(e["event"] in ("log", "validation") for e in heard)))
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
@pytest.mark.parametrize("rate", [0.0, 1e-2], ids=["encoder frozen", "encoder trained along"])
def test_two_processes_train_as_one(base: Base, base_folder: Path, tmp_path: Path, rate: float) -> None:
    one = fit(base, tmp_path / "one", training=short(per_device_train_batch_size=4, encoder_learning_rate=rate))
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={port}"]
    here = str(Path(__file__).parent)
    ran = subprocess.run(
        [*launch, str(program), here, str(tmp_path / "two"), str(base_folder), str(rate)],
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    found = [torch.load(tmp_path / f"two-{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert torch.equal(found[0]["weights"], found[1]["weights"])
    assert_close(found[0]["weights"], weights(one), rtol=0, atol=1e-5)
    assert torch.equal(found[0]["encoder"], found[1]["encoder"])
    encoder = parameters_to_vector(one.reward.network.parameters()).detach()
    assert_close(found[0]["encoder"], encoder, rtol=0, atol=1e-5)
    assert torch.equal(encoder, parameters_to_vector(camp_reward().network.parameters()).detach()) == (rate == 0)

    ours, theirs = (
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    )
    assert [line["step"] for line in theirs] == [line["step"] for line in ours], "every process wrote its own lines"
    for a, b in zip(ours, theirs, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-4)
    assert [(tmp_path / f"two-{rank}.txt").read_text() for rank in (0, 1)] == ["6", "0"]
