"""The files of an audit: one picture, the story as Markdown and as a page, the numbers as JSON."""

import json
from os import PathLike
from pathlib import Path

from tacit.evaluation.audit.plots import plot_gain
from tacit.evaluation.audit.render import to_html, to_markdown
from tacit.evaluation.audit.report import Audit
from tacit.evaluation.audit.story import story
from tacit.files import fill_folder, write_json, write_text

__all__ = ["write_audit"]

TITLE = "Do these users disagree, and does personalising pay?"


def write_audit(audit: Audit, folder: str | PathLike[str]) -> list[Path]:
    """Write `metrics.jsonl`, `audit.png`, `audit.md`, `audit.html` and, last, `audit.json`; returns their paths."""
    names = ("metrics.jsonl", "audit.png", "audit.md", "audit.html", "audit.json")
    blocks = story(audit)
    with fill_folder(folder, last="audit.json") as new:
        metrics, picture, markdown, page, numbers = (new / name for name in names)
        write_text(metrics, "".join(json.dumps(event) + "\n" for event in audit.metrics))
        plot_gain(picture, audit.gain, audit.control, min_gain=audit.verdict.min_gain, k=audit.verdict.k)
        write_text(markdown, to_markdown(blocks, title=TITLE, picture=picture.name))
        write_text(page, to_html(blocks, title=TITLE, picture=picture.read_bytes()))
        write_json(numbers, audit.to_json())
    return [Path(folder) / name for name in names]
