"""Parts by name: encoders, heads, modulators, embedders, baselines, log formats, datasets.

A part registers itself where it is defined, and nothing else names it:

    @encoders.register("laplace")
    class LaplaceEncoder(Encoder): ...

A registry imports the modules of its own package when a name is first looked up. A name that none of them registers is
looked for among installed distributions: the modules that they list under the entry-point group of the kind, such as
`tacit.encoders`, are imported once and register what they bring.
"""

import pkgutil
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from tacit.errors import ConfigError

__all__ = ["Registry"]

P = TypeVar("P")
Q = TypeVar("Q")


class Registry(Mapping[str, P], Generic[P]):
    """The parts of one kind by name, in the order of registration.

    Args:
        kind: what a part is called in messages, such as "log format"; the entry-point group is `tacit.log_formats`.
        package: the package whose modules hold the built-in parts; None = there are none.
    """

    def __init__(self, kind: str, package: str | None = None) -> None:
        self.kind = kind
        self._package: str | None = package
        self._group: str | None = f"tacit.{kind.replace(' ', '_')}s"
        self._parts: dict[str, P] = {}

    def register(self, name: str) -> Callable[[Q], Q]:
        """A decorator that adds a part under `name` and returns it unchanged.

        Raises:
            ConfigError: another part already has the name.
        """

        def add(part: Q) -> Q:
            known = self._parts.get(name)
            if known is not None and known is not part:
                raise ConfigError(f"two parts register as {self.kind} {name!r}; give one another name")
            self._parts[name] = part  # type: ignore[assignment]
            return part

        return add

    def __getitem__(self, name: str) -> P:
        """The part of that name.

        Raises:
            ConfigError: no built-in or installed part has it.
        """
        if name not in self._parts:
            self._import_built_in()
        if name not in self._parts:
            self._import_installed()
        if name not in self._parts:
            raise ConfigError(f"{self.kind} {name!r} is unknown; choose from {', '.join(self) or 'none installed'}")
        return self._parts[name]

    def __contains__(self, name: object) -> bool:
        return name in self._everything()

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._everything()))

    def __len__(self) -> int:
        return len(self._everything())

    def _everything(self) -> dict[str, P]:
        self._import_built_in()
        self._import_installed()
        return self._parts

    def _import_built_in(self) -> None:
        package, self._package = self._package, None  # cleared first: a module may look something up while it loads
        if package is not None:
            for module in pkgutil.iter_modules(import_module(package).__path__):
                import_module(f"{package}.{module.name}")

    def _import_installed(self) -> None:
        group, self._group = self._group, None
        if group is not None:
            for point in entry_points(group=group):
                point.load()
