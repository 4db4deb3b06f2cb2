"""Pictures of the benchmark: accuracy by k for a dataset, and what an accurate answer costs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.ticker import LogLocator

from tacit.evaluation.benchmark.methods import METHODS
from tacit.evaluation.benchmark.results import DatasetResult
from tacit.evaluation.canvas import GRID, INK, MUTED, STYLES, new_figure, plain_axes, save_figure

__all__ = ["plot_accuracy_by_k", "plot_cost"]

LINES = {"upper": (0, (4, 3)), "control": (0, (1, 1.5))}
OURS = "#0072B2"
TOP = 6
"""Methods with a colour of their own; the rest stay grey, so that the picture can be read."""


def plot_accuracy_by_k(path: Path, result: DatasetResult) -> None:
    """Accuracy in per cent against k: ours on top with its interval, the best others in colour, the rest grey."""
    figure = new_figure(8.2, 4.8)
    axes = plain_axes(figure.add_subplot())
    x = np.sqrt(result.ks)
    ranked = sorted(result.methods, key=lambda name: -float(result.methods[name].accuracy.nanmean()))
    coloured = [name for name in ranked if METHODS[name].kind in ("strong", "published")][: TOP - 1]
    palette = dict(zip(coloured, STYLES[1:], strict=False))
    for name in ranked:
        method, kind = result.methods[name], METHODS[name].kind
        y = 100 * method.accuracy.numpy()
        label, line = METHODS[name].label, LINES.get(kind, "-")
        if kind == "ours":
            low, high = 100 * method.interval.numpy().T
            axes.fill_between(x, low, high, color=OURS, alpha=0.15, linewidth=0)
            axes.plot(x, y, color=OURS, linewidth=2.6, marker="o", zorder=9, label=label)
        elif name in palette:
            colour, marker = palette[name]
            axes.plot(x, y, color=colour, linewidth=1.4, marker=marker, markersize=4.5, label=label, zorder=5)
        else:
            colour = INK if kind in LINES else "#BBBBBB"
            axes.plot(x, y, color=colour, linewidth=1.1, linestyle=line, label=label, zorder=3)
    axes.set_xticks(x, [str(k) for k in result.ks])
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_xlabel("choices seen of the user, k (square-root scale)", color=INK)
    axes.set_ylabel("accuracy, %", color=INK)
    axes.set_title(f"{Path(result.name).name}: unseen users", loc="left", fontsize=12, color=INK)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8.5)
    save_figure(figure, path)


def plot_cost(path: Path, results: Sequence[DatasetResult]) -> None:
    """Milliseconds to adapt one user (ten choices) against accuracy over pooled at the largest k, over datasets."""
    figure = new_figure(7.4, 4.6)
    axes = plain_axes(figure.add_subplot())
    for name, method in METHODS.items():
        found = [result.methods[name] for result in results if name in result.methods]
        if not found or method.kind in ("upper", "control"):
            continue
        gain = 100 * float(np.nanmean([float(each.over_pooled[-1]) for each in found]))
        cost = 1000 * float(np.median([each.adapt_seconds for each in found]))
        colour = OURS if method.kind == "ours" else MUTED
        axes.scatter(max(cost, 1e-3), gain, color=colour, s=52 if method.kind == "ours" else 26, zorder=5)
        axes.annotate(method.label, (max(cost, 1e-3), gain), xytext=(5, 4), textcoords="offset points", fontsize=8.5)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.tick_params(which="minor", labelsize=8, colors=MUTED)
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.grid(color=GRID, linewidth=0.8)
    axes.margins(x=0.15, y=0.12)
    axes.set_xlabel("time to adapt to one user with ten choices, ms", color=INK)
    axes.set_ylabel("gain over pooled at the largest k, points", color=INK)
    axes.set_title("What adapting costs and what it buys, mean over datasets", loc="left", fontsize=12, color=INK)
    save_figure(figure, path)
