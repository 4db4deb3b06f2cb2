"""Parts by name: encoders, heads, modulators, embedders, baselines, log formats, datasets.

A part registers itself where it is defined, and nothing else names it:

    @encoders.register("laplace")
    class LaplaceEncoder(Encoder): ...

The names of built-in parts are read from the source text of the registry's own package, so that listing them, or
refusing a name, imports nothing; a part's module is imported when the part is asked for. Installed distributions bring
parts by the entry-point group of the kind, such as `tacit.encoders`: the modules listed there register what they hold.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict, model_serializer, model_validator

from tacit.errors import ConfigError

__all__ = ["PartConfig", "Registry"]

P = TypeVar("P")
Q = TypeVar("Q")
_REGISTERED = re.compile(r'^@\w+\.register\("([^"]+)"\)', re.MULTILINE)


class Registry(Mapping[str, P], Generic[P]):
    """The parts of one kind by name: built-in ones by module, then others as they registered.

    Args:
        kind: what a part is called in messages, such as "log format"; the entry-point group is `tacit.log_formats`.
        package: the package whose modules hold the built-in parts; None = there are none.
    """

    def __init__(self, kind: str, package: str | None = None) -> None:
        self.kind = kind
        self._package = package
        self._group: str | None = f"tacit.{kind.replace(' ', '_')}s"
        self._parts: dict[str, P] = {}
        self._modules: dict[str, str] | None = None

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
        if name not in self:
            raise ConfigError(f"{self.kind} {name!r} is unknown; choose from {', '.join(self) or 'none installed'}")
        if name not in self._parts:
            import_module(self._built_in()[name])
        return self._parts[name]

    def __contains__(self, name: object) -> bool:
        return name in self._parts or name in self._built_in() or name in self._installed()

    def __iter__(self) -> Iterator[str]:
        return iter([*dict.fromkeys([*self._built_in(), *self._installed()])])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def _built_in(self) -> dict[str, str]:
        """The module of every part of the package, by name."""
        if self._modules is None:
            self._modules = {}
            found = find_spec(self._package) if self._package else None
            for folder in (found.submodule_search_locations if found else None) or ():
                for file in sorted(Path(folder).glob("*.py")):
                    for name in _REGISTERED.findall(file.read_text(encoding="utf-8")):
                        self._modules[name] = f"{self._package}.{file.stem}"
        return self._modules

    def _installed(self) -> dict[str, P]:
        """All that has registered, once installed distributions have been asked."""
        group, self._group = self._group, None  # cleared first: a module may look something up while it loads
        if group is not None:
            for point in entry_points(group=group):
                point.load()
        return self._parts


class PartConfig(BaseModel):
    """Which part of a registry, with its settings: `{"kind": "laplace", "components": 2}`, or its name alone.

    A subclass names its registry and the default kind. The settings are those of the part's own `config_class`, a
    frozen pydantic class that refuses unknown keys. They are looked at when they are given or asked for, so that a
    default costs no import.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    registry: ClassVar[Registry[Any]]
    kind: str

    @property
    def part(self) -> Any:
        """What is registered under `kind`."""
        return self.registry[self.kind]

    @property
    def settings(self) -> Any:
        """The part's settings, an instance of its `config_class`."""
        return self.part.config_class.model_validate(self.model_extra or {})

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, given: Any) -> Any:
        return {"kind": given} if isinstance(given, str) else given

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.kind not in self.registry:
            raise ValueError(f"{self.registry.kind} {self.kind!r} is unknown; known: {', '.join(self.registry)}")
        if self.model_extra:
            known = self.part.config_class.model_fields
            for key in self.model_extra:
                if key not in known:
                    near = get_close_matches(key, known, n=1, cutoff=0.5)
                    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known) or 'none'}"
                    raise ValueError(f"{self.registry.kind} {self.kind!r} has no setting {key}; {hint}")
            _ = self.settings
        return self

    @model_serializer
    def _whole(self) -> dict[str, Any]:
        return {"kind": self.kind, **self.settings.model_dump(mode="json")}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self.model_dump() == other.model_dump()

    def __hash__(self) -> int:
        return hash(self.kind)
