"""Peak memory of one arm among several in a process."""

import re
from pathlib import Path

import torch

__all__ = ["forget_peak", "peak_gib"]

_RESET, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def forget_peak(device: str) -> None:
    """From here on: the device's if it is a GPU, else this process's, which only Linux can be told to forget."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
    elif _RESET.exists():
        _RESET.write_text("5")


def peak_gib(device: str) -> float:
    """Since then; 0 where the system does not say."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device) / 2**30
    found = re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text()) if _RESET.exists() else None
    return int(found[1]) / 2**20 if found else 0.0
