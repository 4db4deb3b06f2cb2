"""A short document as Markdown and as one self-contained HTML page.

Blocks hold plain text, never markup: both writers escape all of it, so that a user's text cannot become part of the
page.
"""

import base64
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Block", "Bullets", "Grid", "Heading", "Lead", "Picture", "Text", "Warn", "to_html", "to_markdown"]


@dataclass(frozen=True)
class Lead:
    """The one sentence on top."""

    text: str


@dataclass(frozen=True)
class Warn:
    """A line that must not be missed."""

    text: str


@dataclass(frozen=True)
class Heading:
    """What the next blocks are about."""

    text: str


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """A list."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Grid:
    """A table; the first column is text, the others are numbers."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Picture:
    """Where the one picture stands, with words for those who cannot see it."""

    alt: str


Block = Lead | Warn | Heading | Text | Bullets | Grid | Picture

_STYLE = """
body { font: 16px/1.55 system-ui, sans-serif; color: #222; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.1rem; color: #666; font-weight: 600; margin: 0; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .4rem; }
p.lead { font-size: 1.35rem; line-height: 1.4; margin: .4rem 0 1.2rem; }
p.warn { border-left: 4px solid #d55e00; background: #fdf1e8; padding: .6rem .9rem; }
img { width: 100%; height: auto; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { text-align: right; padding: .35rem .5rem; border-bottom: 1px solid #e4e4e4; vertical-align: top; }
th:first-child, td:first-child { text-align: left; overflow-wrap: anywhere; }
th { color: #666; font-weight: 600; }
"""


def to_html(blocks: Sequence[Block], *, title: str, picture: bytes) -> str:
    """One page without outside resources; `picture` is the PNG."""
    body = "\n".join(_html(block, picture) for block in blocks)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{html.escape(title)}</h1>\n{body}\n</body>\n</html>\n"
    )


def to_markdown(blocks: Sequence[Block], *, title: str, picture: str) -> str:
    """The same in Markdown; `picture` is the name of the PNG beside it."""
    return "\n\n".join([f"# {_plain(title)}", *(_markdown(block, picture) for block in blocks)]) + "\n"


def _html(block: Block, picture: bytes) -> str:
    def cells(tag: str, row: Sequence[str]) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row) + "</tr>"

    match block:
        case Lead(text):
            return f'<p class="lead">{html.escape(text)}</p>'
        case Warn(text):
            return f'<p class="warn">{html.escape(text)}</p>'
        case Heading(text):
            return f"<h2>{html.escape(text)}</h2>"
        case Text(text):
            return f"<p>{html.escape(text)}</p>"
        case Bullets(items):
            return "<ul>" + "".join(f"<li>{html.escape(item)}</li>" for item in items) + "</ul>"
        case Grid(header, rows):
            body = "\n".join(cells("td", row) for row in rows)
            return f"<table>\n<thead>{cells('th', header)}</thead>\n<tbody>\n{body}\n</tbody>\n</table>"
        case Picture(alt):
            inline = base64.b64encode(picture).decode("ascii")
            return f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{inline}">'


def _markdown(block: Block, picture: str) -> str:
    match block:
        case Lead(text):
            return f"**{_plain(text)}**"
        case Warn(text):
            return f"> **Warning.** {_plain(text)}"
        case Heading(text):
            return f"## {_plain(text)}"
        case Text(text):
            return _plain(text)
        case Bullets(items):
            return "\n".join(f"- {_plain(item)}" for item in items)
        case Grid(header, rows):
            lines = [header, (":---", *("---:",) * (len(header) - 1)), *(tuple(map(_plain, row)) for row in rows)]
            return "\n".join("| " + " | ".join(line) + " |" for line in lines)
        case Picture(alt):
            return f"![{_plain(alt)}]({picture})"


def _plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"([\\`*_\[\]<>|#~])", r"\\\1", text)
