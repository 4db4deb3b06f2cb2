"""What every test runs under: no network, one thread, no deadline on a shared machine."""

import os
import socket

# Before torch or transformers are imported; inherited by the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ.pop("TACIT_DEBUG", None)

import pytest
from hypothesis import settings

# A loaded machine misses deadlines without being wrong; CI must not fail by luck of the draw.
settings.register_profile("tacit", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("tacit")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests marked gpu where there is none."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse connections to anywhere but this machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        host = address[0] if isinstance(address, tuple) else "localhost"
        if host not in ("localhost", "127.0.0.1", "::1"):
            raise AssertionError(f"a test tried to reach {host}; tests run without a network")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", guarded)
