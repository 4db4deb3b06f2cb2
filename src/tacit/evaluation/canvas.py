"""How every picture looks: figures without any global plotting state, one palette, quiet axes, atomic PNGs.

Colours are those of Okabe and Ito (2008), distinguishable with every common form of colour blindness; marks differ
too, so that the pictures survive a grey printer.
"""

import io
import os

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tacit.files import write_bytes

__all__ = ["GRID", "INK", "MUTED", "STYLES", "new_figure", "plain_axes", "save_figure"]

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
