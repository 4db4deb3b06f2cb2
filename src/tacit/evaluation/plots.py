"""Pictures: how each looks (one palette, quiet axes, no global state), accuracy by k and the reliability diagram.

Colours are those of Okabe and Ito (2008), distinguishable with every common form of colour blindness; marks differ
too, so that the pictures survive a grey printer.
"""

import io
import os
from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from tacit.errors import ConfigError
from tacit.evaluation.report import Reliability, Summary
from tacit.files import write_bytes

__all__ = [
    "GRID",
    "INK",
    "MUTED",
    "STYLES",
    "new_figure",
    "plain_axes",
    "plot_accuracy",
    "plot_reliability",
    "save_figure",
]

STYLES = (("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#E69F00", "v"), ("#56B4E9", "P"))
INK, MUTED, GRID = "#222222", "#666666", "#E4E4E4"


def new_figure(width: float, height: float) -> Figure:
    """A white figure of this size in inches."""
    return Figure(figsize=(width, height), dpi=160, layout="constrained", facecolor="white")


def plain_axes(axes: Axes) -> Axes:
    """No box, quiet ticks, grid behind."""
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.tick_params(colors=MUTED, labelcolor=INK, labelsize=9.5, length=3)
    return axes


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write the figure to a PNG, atomically."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})
    write_bytes(path, buffer.getvalue())


def plot_accuracy(
    path: str | os.PathLike[str],
    methods: Mapping[str, Summary],
    *,
    reference: Mapping[str, Mapping[int, float]] | None = None,
    title: str = "Accuracy on unseen choices",
) -> None:
    """Write a PNG of accuracy (percent) by number of context choices, intervals as bands.

    Args:
        path: the PNG; written atomically.
        methods: label -> summary, e.g. `report.methods`; the first is drawn on top and heaviest.
        reference: label -> k -> accuracy as a fraction, drawn as thin dashed lines, e.g. the Bayes-optimal line.
        title: a heading.
    """
    drawn = {label: method for label, method in methods.items() if method["accuracy"]}
    if not drawn:
        raise ConfigError("nothing to plot: no method has an accuracy at any k")
    figure = new_figure(7.6, 4.6)
    axes = plain_axes(figure.add_subplot())
    ends: list[tuple[float, float, str, str]] = []
    for order, ((label, method), (colour, marker)) in enumerate(zip(drawn.items(), cycle(STYLES), strict=False)):
        first = order == 0
        x, y = _line(method["accuracy"])
        bounds = method.interval.get("accuracy")
        if bounds:
            low, high = 100 * np.array([bounds[k] for k in sorted(bounds)]).T
            axes.fill_between(x, low, high, color=colour, alpha=0.18 if first else 0.09, linewidth=0, zorder=2)
        axes.plot(
            x, y, color=colour, linewidth=2.4 if first else 1.5, marker=marker, markersize=7 if first else 5,
            markeredgecolor="white", markeredgewidth=0.8, zorder=9 if first else 5, clip_on=False,
        )  # fmt: skip
        ends.append((x[-1], y[-1], label, colour))
    for label, by_k in (reference or {}).items():
        x, y = _line(by_k)
        axes.plot(x, y, linestyle=(0, (4, 3)), color=INK, linewidth=1.2, zorder=4)
        ends.append((x[-1], y[-1], label, INK))
    ticks = sorted({k for method in drawn.values() for k in method["accuracy"]})
    axes.set_xticks(np.sqrt(ticks), [str(k) for k in ticks])
    axes.set_xlim(-0.02 * max(1.0, ticks[-1] ** 0.5), max(1.0, ticks[-1] ** 0.5))
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_xlabel("choices seen of the user, k (square-root scale)", color=INK)
    axes.set_ylabel("accuracy, %", color=INK)
    axes.set_title(title, loc="left", fontsize=12, color=INK, pad=10)
    _label_ends(axes, ends)
    save_figure(figure, path)


def plot_reliability(
    path: str | os.PathLike[str],
    reliability: Mapping[int, Reliability],
    *,
    ece: Mapping[int, float] | None = None,
    ks: Sequence[int] | None = None,
) -> None:
    """Write a PNG of accuracy against confidence in equal-mass bins, one panel per k.

    Args:
        path: the PNG; written atomically.
        reliability: `report.reliability`.
        ece: `report.model["ece"]`, written into the panels.
        ks: which k to show; by default the smallest, the middle and the largest.

    Raises:
        ConfigError: a k that was not evaluated, or none at all.
    """
    known = sorted(reliability)
    shown = list(ks) if ks is not None else sorted({known[0], known[len(known) // 2], known[-1]}) if known else []
    if not shown or not set(shown) <= set(known):
        raise ConfigError(f"cannot plot the reliability at k = {shown}: evaluated at k = {known}")
    figure = new_figure(0.8 + 2.9 * len(shown), 3.5)
    values = [v for k in shown for v in (*reliability[k].confidence, *reliability[k].accuracy)]
    low, high = 100 * min(0.5, *values) - 2, min(102.0, 100 * max(0.7, *values) + 3)
    for place, k in enumerate(shown):
        axes = plain_axes(figure.add_subplot(1, len(shown), place + 1))
        confidence, right = (100 * np.array(v) for v in (reliability[k].confidence, reliability[k].accuracy))
        axes.plot([low, high], [low, high], color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)), zorder=2)
        axes.vlines(confidence, confidence, right, color="#D55E00", linewidth=1.6, alpha=0.7, zorder=3)
        axes.plot(confidence, right, "o", color="#0072B2", markersize=5.5, markeredgecolor="white", zorder=4)
        axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
        axes.grid(color=GRID, linewidth=0.8)
        axes.set_title(f"k = {k}", loc="left", fontsize=11, color=INK)
        if ece is not None:
            axes.text(0.05, 0.93, f"ECE {100 * ece[k]:.1f} %", transform=axes.transAxes, va="top", color=INK)
        axes.xaxis.set_major_locator(MultipleLocator(10))
        axes.yaxis.set_major_locator(MultipleLocator(10))
        axes.tick_params(labelleft=place == 0)
    figure.supxlabel("confidence, max(p, 1 - p), %", fontsize=10, color=INK)
    figure.supylabel("accuracy, %", fontsize=10, color=INK)
    save_figure(figure, path)


def _line(by_k: Mapping[int, float]) -> tuple[np.ndarray, np.ndarray]:
    """Positions on a square-root axis, where the first choices, which teach most, have room; values in percent."""
    ks = sorted(by_k)
    return np.sqrt(ks), 100 * np.array([by_k[k] for k in ks])


def _label_ends(axes: Axes, ends: list[tuple[float, float, str, str]]) -> None:
    """Name each line at its right end, moved apart as little as keeps the names legible, with a leader where moved."""
    low, high = axes.get_ylim()
    ends = sorted(ends, key=lambda end: end[1])
    right = axes.get_xlim()[1]
    gap = 0.05 * (high - low)
    for (x, y, label, colour), at in zip(ends, _spread([end[1] for end in ends], gap), strict=True):
        axes.annotate(
            f"{label}  {y:.1f}", xy=(x, y), xytext=(right + 0.045 * right, at), color=colour, fontsize=9.5, va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.7, "alpha": 0.6, "shrinkA": 2, "shrinkB": 4},
        )  # fmt: skip
    axes.set_ylim(low, high)


def _spread(wanted: Sequence[float], gap: float) -> list[float]:
    """Positions at least `gap` apart, nearest to the ascending `wanted` in squares: isotonic regression by pooling."""
    blocks: list[list[float]] = []  # each holds the shifted positions that have to share one value
    for order, value in enumerate(wanted):
        blocks.append([value - order * gap])
        while len(blocks) > 1 and np.mean(blocks[-2]) >= np.mean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    level = [float(np.mean(block)) for block in blocks for _ in block]
    return [value + order * gap for order, value in enumerate(level)]
