"""Any exception as one line for people and an exit code: 2 for bad input, 1 for a fault of ours."""

import json
import re
import sys
from collections.abc import Mapping
from typing import Any

import typer

from tacit.errors import TacitError

__all__ = ["describe", "describe_validation"]


def describe(error: Exception, *, command: str) -> tuple[str, int]:
    """The line (without line breaks) and the exit code for `error`, raised while running `command`."""
    line, code = _line(error, command), 2
    if line is None:
        text = str(error)
        line = f"unexpected {type(error).__name__}{': ' if text else ''}{text} (TACIT_DEBUG=1 shows where)"
        code = 1
    return " ".join(_in_flags(line).split()), code


# The library's errors name its own arguments; whoever typed a command is told the option in their place.
_FLAGS = (
    (re.compile(r"\b(skip_bad_rows|overwrite)=True\b"), lambda m: f"--{m[1].replace('_', '-')}"),
    (re.compile(r"\bcolumns=\{'(\w+)': ('[^']*'|\"[^\"]*\")\}"), lambda m: f"--map {m[1]}={m[2]}"),
    (re.compile(r"\b(user|format|base)=('[^']*'|\w+)"), lambda m: f"--{m[1]} {m[2]}"),
)


def _in_flags(line: str) -> str:
    for pattern, option in _FLAGS:
        line = pattern.sub(option, line)
    return line


def _line(error: Exception, command: str) -> str | None:
    if isinstance(error, TacitError):
        return str(error)
    if isinstance(error, typer.TyperException):
        return f"{error.format_message().rstrip('. ')}; see `{command} --help`"
    if isinstance(error, OSError):
        where = f" {error.filename}" if error.filename is not None else ""
        return f"cannot read or write{where}: {error.strerror or error}"
    if isinstance(error, MemoryError):
        return "out of memory; use less data, a smaller batch or a smaller embedder"
    if "pydantic" in sys.modules:
        from pydantic import ValidationError

        if isinstance(error, ValidationError):
            return describe_validation(error.title, error.errors(include_url=False))
    return None


def describe_validation(title: str, problems: list[Any]) -> str:
    """What pydantic found wrong, key by key: `TrainConfig: lr = -1: should be greater than 0; ...`."""
    shown = "; ".join(_describe_problem(problem) for problem in problems[:3])
    more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
    return f"{title}: {shown}{more}"


def _describe_problem(problem: Mapping[str, Any]) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"unknown key {key!r}"
    if problem["type"] == "missing":
        return f"missing key {key!r}"
    message = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if not key:
        return message
    found = json.dumps(problem["input"], default=repr, ensure_ascii=False)
    return f"{key} = {found if len(found) <= 60 else found[:57] + '...'}: {message}"
