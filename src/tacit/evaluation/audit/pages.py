"""The files of an audit: one picture, the story as Markdown and as a page, the numbers as JSON."""

import base64
import json
import re
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from tacit.choices.conversation import prompt_text
from tacit.evaluation.audit.minority import Moved
from tacit.evaluation.audit.report import Audit, because, choices, headline, points, settle, warning
from tacit.evaluation.audit.verdict import Estimate
from tacit.evaluation.plots import GRID, INK, MUTED, STYLES, new_figure, plain_axes, save_figure
from tacit.files import fill_folder, write_json, write_text

__all__ = ["plot_gain", "write_audit"]

_ANSWER, _PROMPT = 160, 90
"""Characters shown of each."""


def write_audit(audit: Audit, folder: str | PathLike[str]) -> list[Path]:
    """Write `metrics.jsonl`, `audit.png`, `audit.md`, `audit.html` and, last, `audit.json`; returns their paths."""
    names = ("metrics.jsonl", "audit.png", "audit.md", "audit.html", "audit.json")
    with fill_folder(folder, last="audit.json") as new:
        metrics, picture, markdown, page, numbers = (new / name for name in names)
        write_text(metrics, "".join(json.dumps(event) + "\n" for event in audit.metrics))
        plot_gain(picture, audit)
        inline = "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode("ascii")
        write_text(markdown, _written(audit, "markdown.jinja", "page.md.jinja", _plain, picture.name))
        write_text(page, _written(audit, "html.jinja", "page.jinja", escape, inline))
        write_json(numbers, audit.to_json())
    return [Path(folder) / name for name in names]


def plot_gain(path: Path, audit: Audit) -> None:
    """A PNG of the gain over one model for everybody (points, 95 % bands), and of its control, by choices seen."""
    figure = new_figure(7.6, 4.3)
    axes = plain_axes(figure.add_subplot())
    (blue, dot), (red, square) = STYLES[:2]
    lines = (
        (audit.gain, "personalised, knowing the user's own choices", blue, dot, 2.4, 7, 0.18, 7),
        (audit.control, "control: shown a stranger's choices", red, square, 1.5, 5, 0.10, 6),
    )
    for curve, label, colour, marker, width, size, alpha, level in lines:
        ks = sorted(curve)
        low, high = ([getattr(curve[j], end) for j in ks] for end in ("low", "high"))
        axes.fill_between(np.sqrt(ks), low, high, color=colour, alpha=alpha, linewidth=0)
        axes.plot(
            np.sqrt(ks), [curve[j].mean for j in ks], color=colour, linewidth=width, marker=marker, markersize=size,
            markeredgecolor="white", markeredgewidth=0.8, label=label, zorder=level,
        )  # fmt: skip
    verdict, place = audit.verdict, float(np.sqrt(audit.verdict.k))
    axes.axhline(0, color=INK, linewidth=1.0, zorder=3, label="one model for everybody")
    worth = f"smallest gain worth having, {verdict.min_gain:g} {'point' if verdict.min_gain == 1 else 'points'}"
    axes.axhline(verdict.min_gain, color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)), zorder=3, label=worth)
    axes.axvline(place, color=GRID, linewidth=6, zorder=0)
    axes.annotate(
        "verdict read here", (place, 0.0), xycoords=("data", "axes fraction"), xytext=(-6, 4), ha="right",
        textcoords="offset points", fontsize=8.5, color=MUTED,
    )  # fmt: skip
    ks = sorted(audit.gain)
    axes.set_xticks(np.sqrt(ks), [str(j) for j in ks])
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_xlabel("choices seen of a new user (square-root scale)", color=INK)
    axes.set_ylabel("gain, points of accuracy", color=INK)
    axes.set_title("What personalising buys, on people and prompts not trained on", loc="left", fontsize=12, color=INK)
    figure.legend(loc="outside lower left", ncols=2, frameon=False, fontsize=9, labelcolor=INK)
    save_figure(figure, path)


def _written(audit: Audit, skin: str, page: str, safe: Callable[[str], str], image: str) -> str:
    """The page; `safe` makes a text, which may be a user's, show as it is."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")), undefined=StrictUndefined, autoescape=True,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
        finalize=lambda value: value if isinstance(value, Markup) else Markup(safe(str(value))),
    )  # fmt: skip
    html = safe is escape

    def item(moved: Moved) -> str:
        if moved.prompt is None or moved.response is None:
            return f"item {moved.item}"
        answer, prompt = _short(moved.response, _ANSWER), _short(prompt_text(moved.prompt), _PROMPT)
        return Markup(f"<small>{escape(prompt)}</small>{escape(answer)}") if html else f"{answer} ({prompt})"

    def cell(e: Estimate) -> str:
        return Markup(f"{e.mean:+.1f}<small>{e.low:+.1f} to {e.high:+.1f}</small>") if html else points(e)

    environment.filters |= {
        "choices": choices, "decimal": "{:.1f}".format, "inline_points": points, "item": item, "oneline": _oneline,
        "points": cell,
    }  # fmt: skip
    said: dict[str, Any] = {
        "audit": audit, "title": "Do these users disagree, and does personalising pay?",
        "headline": headline(audit.verdict), "because": because(audit.verdict),
        "settle": settle(audit), "warning": warning(audit), "image": Markup(image),
    }  # fmt: skip
    environment.globals |= said
    text = environment.get_template(page).render(to=environment.get_template(skin).module)
    return text if html else re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n"


def _oneline(text: str) -> str:
    return Markup(" ".join(text.split()))


def _plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"([\\`*_\[\]<>|#~])", r"\\\1", text)


def _short(text: str, width: int) -> str:
    """One line of at most `width` characters, without control characters."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= width else line[: width - 3] + "..."
