"""Experiments on UltraFeedback as TOML files: one file per row of a table, or one per sweep.

kind = "ultrafeedback"                     # settings at the top hold for every dataset of the file
source = "hf://openbmb/UltraFeedback"      # or a file, by a path relative to this one
[[dataset]]                                # one table per dataset; without any, the file is one dataset
name = "hh-context-25"
context_conflict = 0.25
"""

import tomllib
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor

from tacit.errors import ConfigError
from tacit.evaluation.benchmark.task import Task
from tacit_experiments.datasets.ultrafeedback import check_users, ultrafeedback_task
from tacit_experiments.datasets.ultrafeedback_reader import read_ultrafeedback

__all__ = ["UltraFeedbackConfig", "read_dataset_config"]


class UltraFeedbackConfig(BaseModel):
    """One dataset; unknown keys are refused. What is not told here is an argument of `ultrafeedback_task`.

    Attributes:
        name: names the dataset in tables and folders.
        kind: `ultrafeedback`.
        source: a file, or `hf://owner/name[:split]`.
        skip_bad_rows: drop and count rows that contradict the schema instead of stopping.
        embedder: turns responses into vectors.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    kind: Literal["ultrafeedback"]
    source: Annotated[str, Field(min_length=1)]
    skip_bad_rows: bool = False
    embedder: Annotated[str, Field(min_length=1)] = "minilm"
    objectives: tuple[str, ...] = ("helpfulness", "honesty")
    ties: bool = False
    pairs: Literal["conflict", "all"] = "conflict"
    context_conflict: float | None = None
    target_conflict: float | None = None
    users: tuple[int, ...] = (1000, 150, 250)
    choices: tuple[int, ...] = (10, 20)
    ks: tuple[int, ...] = (0, 1, 3, 5, 10)

    @model_validator(mode="after")
    def _users_can_be_drawn(self) -> Self:
        shares = (self.context_conflict, self.target_conflict)
        check_users(self.objectives, self.ties, self.pairs, shares, self.users, self.choices, self.ks)
        return self

    def make(self, seed: int, vectors: Callable[[list[tuple[str, str]], str], Tensor]) -> Task:
        """Read the source and draw the task; `vectors(items, embedder)` embeds distinct (prompt, response) texts.

        Raises:
            ChoiceError: what `read_ultrafeedback` and `ultrafeedback_task` raise.
        """
        return ultrafeedback_task(
            read_ultrafeedback(self.source, skip_bad_rows=self.skip_bad_rows),
            seed=seed,
            vectors=lambda items: vectors(items, self.embedder),
            **self.model_dump(exclude={"kind", "source", "skip_bad_rows", "embedder"}),
        )


def read_dataset_config(path: str | PathLike[str]) -> list[UltraFeedbackConfig]:
    """The datasets of a TOML file, in order; paths of sources are taken relative to the file.

    Raises:
        ConfigError: the file is missing or no TOML, or a setting is unknown, missing, out of range or contradictory.
    """
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}; expected a TOML file of datasets") from None
    except ValueError as error:  # bad UTF-8 or TOML; the message says where
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    tables = values.pop("dataset", [{}])
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        raise ConfigError(f"{path}: 'dataset' is no list of tables; write [[dataset]] above each dataset")
    datasets = [_dataset(path, values | table) for table in tables]
    names = [dataset.name for dataset in datasets]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{path}: two datasets are named '{name}'; give each its own name")
    return datasets


def _dataset(path: Path, values: dict[str, Any]) -> UltraFeedbackConfig:
    source = values.get("source")
    if isinstance(source, str) and source and not source.startswith("hf://"):
        values = values | {"source": str(path.parent / source)}
    which = f"{path}: dataset {values.get('name', '(no name)')!r}"
    try:
        return UltraFeedbackConfig(**values)
    except ConfigError as error:
        raise ConfigError(f"{which}: {error}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            raise ConfigError(f"{which}: unknown setting {key}; known: {_KNOWN}") from None
        if first["type"] == "missing":
            raise ConfigError(f"{which}: {key} is missing; add it to the table or to the top of the file") from None
        raise ConfigError(f"{which}: {key} is {first['input']!r}: {first['msg']}") from None


_KNOWN = ", ".join(UltraFeedbackConfig.model_fields)
