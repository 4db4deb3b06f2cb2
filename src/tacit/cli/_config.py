"""Settings of a verb: defaults, then `--config FILE`, then `--set key=value`, then flags of their own."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import typer
from pydantic import BaseModel, ValidationError

from tacit.cli._errors import describe_validation
from tacit.cli._result import Result
from tacit.errors import ConfigError

__all__ = ["ConfigFile", "PrintConfig", "Settings", "config_result", "read_config"]

C = TypeVar("C", bound=BaseModel)

ConfigFile = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="Settings from a TOML or JSON file.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="One setting; repeatable, wins over --config. Dots reach inside."),
]
PrintConfig = Annotated[bool, typer.Option("--print-config", help="Print all settings as JSON and stop.")]


def read_config(model: type[C], file: Path | None = None, settings: Sequence[str] | None = None, **flags: Any) -> C:
    """A validated `model` from a file, `key=value` settings and flags, later ones winning.

    Args:
        model: the pydantic class; keys it does not have are refused even if it would ignore them.
        file: `.toml` or `.json`.
        settings: `key=value` each; `a.b=1` sets `b` inside `a`. A value that parses as JSON is taken so (`3`, `true`,
            `[1, 2]`), anything else as text.
        flags: values of options of their own, such as `seed`; None = not given.

    Raises:
        ConfigError: one line with the source, the key, and what is allowed there or the nearest key that exists.
    """
    values: dict[str, Any] = {} if file is None else _read_file(file)
    if file is not None:
        _refuse_unknown(model, values, source=f"--config {file}")
    for setting in settings or ():
        key, value = _parse_setting(setting)
        _refuse_unknown(model, _nested(key, value), source=f"--set {setting}")
        _merge(values, _nested(key, value))
    values |= {name: value for name, value in flags.items() if value is not None}
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigError(describe_validation("settings", error.errors(include_url=False))) from error


def config_result(config: BaseModel) -> Result:
    """What `--print-config` returns: every setting, as JSON that `--config` reads back."""
    data = config.model_dump(mode="json")
    return Result(data, [json.dumps(data, indent=2, ensure_ascii=False)])


def _read_file(file: Path) -> dict[str, Any]:
    parsers = {".toml": tomllib.loads, ".json": json.loads}
    if file.suffix not in parsers:
        raise ConfigError(f"--config {file}: expected a .toml or .json file")
    try:
        values = parsers[file.suffix](file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # bad UTF-8, TOML or JSON; the message says where
        raise ConfigError(f"--config {file} is not valid {file.suffix[1:].upper()}: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"--config {file}: expected an object of settings, found {type(values).__name__}")
    return values


def _parse_setting(setting: str) -> tuple[list[str], Any]:
    key, equals, text = setting.partition("=")
    if not equals or not all(key.split(".")):
        raise ConfigError(f"--set {setting}: expected KEY=VALUE")
    try:
        return key.split("."), json.loads(text)
    except ValueError:
        return key.split("."), text


def _nested(key: list[str], value: Any) -> dict[str, Any]:
    for part in reversed(key):
        value = {part: value}
    return value


def _merge(into: dict[str, Any], values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, dict) and isinstance(into.get(key), str):
            into[key] = {"kind": into[key]}  # a part by its name alone; its settings come beside it
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _refuse_unknown(model: type[BaseModel], values: Mapping[str, Any], *, source: str, path: str = "") -> None:
    for key, value in values.items():
        field = model.model_fields.get(key)
        if field is None:
            near = get_close_matches(key, model.model_fields, n=1, cutoff=0.5)
            hint = f"did you mean {path}{near[0]}?" if near else f"known: {', '.join(model.model_fields)}"
            raise ConfigError(f"{source}: unknown setting {path}{key}; {hint}")
        kinds = (field.annotation, *get_args(field.annotation))
        inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if isinstance(value, dict) and len(inner) == 1 and inner[0].model_config.get("extra") != "allow":
            # of a union, pydantic itself picks the member; a part's settings are its own to know
            _refuse_unknown(inner[0], value, source=source, path=f"{path}{key}.")
