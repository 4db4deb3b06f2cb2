"""Packages whose public names load on first use, so that `tacit --help` and a wrong option never wait for torch.

    if TYPE_CHECKING:
        from tacit.rewards.model import RewardModel

    __all__ = ["RewardModel"]
    __getattr__, __dir__ = lazy(__name__, __file__)

The imports under `TYPE_CHECKING` are read as text: they say where each name lives, to type checkers and to this alike.
A public name must differ from every module of its package, since importing the module would take the name's place.
"""

import ast
import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

__all__ = ["homes", "lazy"]


@cache
def homes(file: str) -> dict[str, str]:
    """The module of every name that a package imports under `TYPE_CHECKING`."""
    found = {}
    for branch in ast.parse(Path(file).read_text(encoding="utf-8")).body:
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING":
            for node in branch.body:
                if isinstance(node, ast.ImportFrom) and node.module:
                    found |= {alias.asname or alias.name: node.module for alias in node.names}
    return found


def lazy(package: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package: PEP 562."""

    def get(name: str) -> Any:
        module = homes(file).get(name)
        if module is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(module), name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        known = vars(sys.modules[package])
        return sorted({*known, *known["__all__"]})

    return get, names
