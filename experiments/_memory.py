"""Memory of this process: the peak of one arm among several, and an allocator that keeps what it has."""

import ctypes
import re
import sys
from pathlib import Path

import torch

__all__ = ["forget_peak", "keep_freed", "peak_gib"]

# glibc's malloc.h, and the largest int.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _NEVER = -1, -4, 2**31 - 1
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


def keep_freed() -> bool:
    """From here on freed memory stays with this process; only glibc can be told, False elsewhere.

    By itself glibc hands large blocks back and has them cleared page by page when they are needed again, how often
    depends on the order of everything allocated before.
    """
    if not sys.platform.startswith("linux"):
        return False
    tell = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    return tell is not None and bool(tell(_M_MMAP_MAX, 0)) and bool(tell(_M_TRIM_THRESHOLD, _NEVER))
