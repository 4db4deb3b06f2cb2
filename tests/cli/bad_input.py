"""What the corpora of bad input share: a case, and what every refusal must look like."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cli_world import Run

Prepare = Callable[[Path, Path], object]
"""(own folder, the shared base) -> nothing of interest; makes what the command line will trip over."""


@dataclass(frozen=True)
class Case:
    """A command line, what to make beforehand, and what its one line of complaint must say.

    `command` is split at spaces; `{base}` stands for the shared folder. `says` are the cause and the mend, in order.
    """

    name: str
    command: str
    says: tuple[str, ...]
    prepare: Prepare = lambda work, base: None


def cases(*rows: tuple[Any, ...]) -> Any:
    """Parametrise a test over cases given as tuples."""
    made = [Case(*row) for row in rows]
    assert len({case.name for case in made}) == len(made)
    return pytest.mark.parametrize("case", made, ids=lambda case: case.name)


def refuses(case: Case, run: Run, work: Path, base: Path) -> None:
    """Exit code 2; one line on stderr that names cause and mend; nothing written, here or in the shared folder."""
    case.prepare(work, base)
    before = snapshot(work), snapshot(base)
    verb, *arguments = ("" if word == "''" else word.format(base=base) for word in case.command.split(" "))
    code, out, err = run(verb, *arguments)
    assert (code, out) == (2, ""), err
    assert err.startswith(f"tacit {verb}: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1, err
    assert "Traceback" not in err
    place = 0
    for part in case.says:
        assert part in err[place:], err
        place = err.index(part, place) + len(part)
    assert (snapshot(work), snapshot(base)) == before


def snapshot(folder: Path) -> dict[str, str]:
    """Every path under a folder (hidden ones too) with a hash of its content."""
    return {
        str(path.relative_to(folder)): hashlib.blake2b(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
    }


def file(name: str, content: str | bytes | Callable[[bytes], bytes]) -> Prepare:
    """Write a file; a function changes the bytes that are there."""

    def prepare(work: Path, base: Path) -> None:
        path = work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if callable(content):
            path.write_bytes(content(path.read_bytes()))
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)

    return prepare


def altered(name: str, change: Callable[[Any], object]) -> Prepare:
    """Change the JSON object in a file, in place or by returning a list instead."""

    def prepare(work: Path, base: Path) -> None:
        value = json.loads((work / name).read_text())
        changed = change(value)
        (work / name).write_text(json.dumps(changed if isinstance(changed, list) else value))

    return prepare


def copied(name: str, *then: Prepare) -> Prepare:
    """Copy a folder of `base` into one's own, then prepare further."""

    def prepare(work: Path, base: Path) -> None:
        shutil.copytree(base / name, work / name)
        for step in then:
            step(work, base)

    return prepare
