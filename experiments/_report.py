"""What every benchmark here shares: alternating arms, medians and paired ratios, a table, the machine in words."""

import argparse
import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from tacit.embedders.transformer import choose_device
from tacit.errors import EmbeddingError
from tacit.files import write_json

__all__ = ["alternate", "cores", "finish", "machine", "median", "parser", "percentile", "ratio", "table"]

median = statistics.median


def alternate(arms: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Run every arm `repeats` times, in alternating order, so that a busy neighbour slows all of them alike.

    Each arm returns what it measured; the n-th numbers of all arms belong together.
    """
    measured: dict[str, list[float]] = {name: [] for name in arms}
    for repeat in range(repeats):
        for name in list(arms) if repeat % 2 == 0 else list(arms)[::-1]:
            measured[name].append(arms[name]())
    return measured


def ratio(above: Sequence[float], below: Sequence[float]) -> dict[str, float]:
    """Ratio of the medians, with the median and quartiles of the ratios within one repeat."""
    paired = [a / b for a, b in zip(above, below, strict=True)]
    quartiles = {"lower_quartile": percentile(paired, 0.25), "upper_quartile": percentile(paired, 0.75)}
    return {"of_medians": median(above) / median(below), "median_of_paired": median(paired), **quartiles}


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of them lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]


def cores() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def machine(device: str = "cpu") -> dict[str, Any]:
    """What numbers depend on: never a name or a path. `load` is the load average when the run began."""
    found: dict[str, Any] = {
        "cores": cores(),
        "processor": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": device,
    }
    if hasattr(os, "getloadavg"):
        found["load"] = round(os.getloadavg()[0], 2)
    if device.startswith("cuda"):
        found["gpu"] = torch.cuda.get_device_name(device)
    return found


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print aligned columns, the first to the left, the others to the right."""
    texts = [list(headers), *([f"{cell:,.3g}" if isinstance(cell, float) else str(cell) for cell in r] for r in rows)]
    widths = [max(len(row[column]) for row in texts) for column in range(len(headers))]
    for row in texts:
        cells = (text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True))
        print("  ".join([row[0].ljust(widths[0]), *cells]))
    print()


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options that all benchmarks have."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--out", type=Path, help="where to write the numbers as JSON")
    made.add_argument("--fast", action="store_true", help="a smoke run: tiny sizes, numbers that mean nothing")
    made.add_argument("--device", type=_present, default="cpu", help="where the networks run (cpu, cuda, cuda:1 ...)")
    made.add_argument("--seed", type=int, default=0)
    return made


def _present(device: str) -> str:
    """The name of a device that this machine has."""
    try:
        choose_device(device)
    except EmbeddingError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return device


def finish(result: dict[str, Any], out: Path | None) -> None:
    """Write the JSON, if asked."""
    if out:
        write_json(out, result)
        print(f"wrote {out.name}")
