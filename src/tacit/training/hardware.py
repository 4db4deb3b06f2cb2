"""Device and CPU threads, chosen by timing the very step that will be run, and logged."""

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from tacit.errors import ConfigError

__all__ = ["Hardware", "choose_hardware", "cpu_threads"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Hardware:
    """Where training runs, and the seconds per step measured for each candidate (empty when nothing was measured)."""

    device: str
    threads: int
    seconds: dict[str, float]


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Run a block with `count` intra-op threads and put the caller's number back afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def choose_hardware(
    timed_step: Callable[[str], Callable[[], None]], *, device: str | None, threads: int | None, repeats: int = 5
) -> Hardware:
    """Time a step on each candidate and take the fastest.

    Args:
        timed_step: given a device name, returns a function that runs one throw-away step there.
        device, threads: fixed by the caller where not None.

    Raises:
        ConfigError: a device that this machine does not have.
    """
    if device is not None:
        try:
            torch.zeros(1, device=device).item()  # read back, which the device `meta` cannot
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(
                f"device {device!r} cannot be used ({reason}); use device=cpu, or none to choose"
            ) from None
    devices = [device] if device else ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    counts = [threads] if threads else sorted({1, max(1, cores // 2), cores})
    candidates = [(d, n) for d in devices for n in (counts if d == "cpu" else counts[-1:])]
    if len(candidates) == 1:
        chosen = Hardware(*candidates[0], seconds={})
    else:
        seconds = {}
        for name, count in candidates:
            try:
                seconds[f"{name}/{count}"] = _median_seconds(timed_step(name), name, count, repeats)
            except torch.OutOfMemoryError:
                logger.info("%s has too little memory for this run", name)
        best = min(candidates, key=lambda c: seconds.get(f"{c[0]}/{c[1]}", float("inf")))
        chosen = Hardware(*best, seconds=seconds)
    logger.info(
        "training on %s with %d threads (seconds per step: %s)",
        chosen.device,
        chosen.threads,
        chosen.seconds or "not measured",
    )
    return chosen


def _median_seconds(step: Callable[[], None], device: str, threads: int, repeats: int) -> float:
    times = []
    with cpu_threads(threads):
        step()
        for _ in range(repeats):
            start = time.perf_counter()
            step()
            if device != "cpu":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2]
