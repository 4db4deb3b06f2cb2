"""Sphinx settings of the documentation: `make docs`. Needs no network, and every warning is an error."""

import re
from importlib.metadata import version as installed

from sphinx.application import Sphinx

import tacit.evaluation.benchmark.from_table
import tacit.workflows  # noqa: F401 - pydantic models fail to build under the TYPE_CHECKING that autodoc sets

project = "tacit"
author = project_copyright = "The tacit authors"
version = release = installed("tacit")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = "tacit"

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
exclude_patterns = ["log.md"]  # what was tried without gain is for who works on this, not for the manual
default_role = "code"  # docstrings put names in single backticks, as Markdown does
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
napoleon_custom_sections = [("Shapes", "params_style"), ("Values", "params_style")]
python_maximum_signature_line_length = 100

suppress_warnings = ["ref.python"]  # axes, as in Int64[users], share their names with attributes

BACKTICKS = re.compile(r"(``.*?``|`[^`\n]*`)")
SPECIAL = re.compile(r"[*|]|(?<=\w)_(?!\w)")
FENCE = re.compile(r"( *)```(\w*)")
ENTRY = re.compile(r" +\w+: ")


def from_markdown(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Take a docstring's formulas and code for what they are; reStructuredText would read S * T * U as emphasis."""
    fenced = False
    result: list[str] = []
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if fence := FENCE.fullmatch(line):
            fenced = not fenced
            result += [f"{fence[1]}.. code-block:: {fence[2]}", ""] if fenced else [""]
        elif fenced:
            result.append("    " + line)
        elif line.strip() == "Returns:" and ENTRY.match(following):  # several named values, not one
            result.append(line.replace("Returns", "Values"))
        else:
            parts = BACKTICKS.split(line)
            parts[::2] = [SPECIAL.sub(r"\\\g<0>", part) for part in parts[::2]]
            result.append("".join(parts))
    lines[:] = result


def setup(app: Sphinx) -> None:
    """Before napoleon, which reads docstrings at the default priority of 500."""
    app.connect("autodoc-process-docstring", from_markdown, priority=400)
