"""The picture of an audit: what personalising gains, by choices seen."""

from collections.abc import Mapping
from os import PathLike

import numpy as np

from tacit.evaluation.audit.verdict import Estimate
from tacit.evaluation.canvas import GRID, INK, MUTED, STYLES, new_figure, plain_axes, save_figure

__all__ = ["plot_gain"]


def plot_gain(
    path: str | PathLike[str], gain: Mapping[int, Estimate], control: Mapping[int, Estimate], *, min_gain: float, k: int
) -> None:
    """Write a PNG of the gain over one model for everybody (points, 95 % bands) by number of choices.

    Args:
        path: the PNG; written atomically.
        gain: of the personalised model, by k.
        control: of the same model on a stranger's choices, by k.
        min_gain: the smallest gain worth having, points.
        k: where the verdict is read.
    """
    figure = new_figure(7.6, 4.3)
    axes = plain_axes(figure.add_subplot())
    (blue, dot), (red, square) = STYLES[:2]
    lines = (
        (gain, "personalised, knowing the user's own choices", blue, dot, 2.4, 7, 0.18, 7),
        (control, "control: shown a stranger's choices", red, square, 1.5, 5, 0.10, 6),
    )
    for curve, label, colour, marker, width, size, alpha, level in lines:
        ks = sorted(curve)
        place = np.sqrt(ks)
        axes.fill_between(
            place, [curve[j].low for j in ks], [curve[j].high for j in ks], color=colour, alpha=alpha, linewidth=0
        )
        axes.plot(
            place, [curve[j].mean for j in ks], color=colour, linewidth=width, marker=marker, markersize=size,
            markeredgecolor="white", markeredgewidth=0.8, label=label, zorder=level,
        )  # fmt: skip
    axes.axhline(0, color=INK, linewidth=1.0, zorder=3, label="one model for everybody")
    worth = f"smallest gain worth having, {min_gain:g} {'point' if min_gain == 1 else 'points'}"
    axes.axhline(min_gain, color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)), zorder=3, label=worth)
    axes.axvline(np.sqrt(k), color=GRID, linewidth=6, zorder=0)
    axes.annotate(
        "verdict read here", (float(np.sqrt(k)), 0.0), xycoords=("data", "axes fraction"), xytext=(-6, 4), ha="right",
        textcoords="offset points", fontsize=8.5, color=MUTED,
    )  # fmt: skip
    axes.set_xticks(np.sqrt(sorted(gain)), [str(j) for j in sorted(gain)])
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_xlabel("choices seen of a new user (square-root scale)", color=INK)
    axes.set_ylabel("gain, points of accuracy", color=INK)
    axes.set_title("What personalising buys, on people and prompts not trained on", loc="left", fontsize=12, color=INK)
    figure.legend(loc="outside lower left", ncols=2, frameon=False, fontsize=9, labelcolor=INK)
    save_figure(figure, path)
