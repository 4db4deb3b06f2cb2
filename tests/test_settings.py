"""How many things a user may set: few enough to know them all."""

import importlib
import pkgutil

import pytest
from pydantic import BaseModel

import tacit
from tacit.embedders.rows import Header
from tacit.registry import PartConfig

MOST = 95
"""Bound on settings; one more must take the place of one that matters less, or say in the changelog why it is added."""


def models() -> list[type[BaseModel]]:
    """Every pydantic class of the package."""
    modules = [importlib.import_module(found.name) for found in pkgutil.walk_packages(tacit.__path__, "tacit.")]
    return [
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, BaseModel) and value.__module__ == module.__name__
    ]


def settings() -> dict[str, list[str]]:
    """Fields of every public pydantic class.

    A field that only gives an inherited one another default is counted once, where it is first declared. Left out is
    what describes a file's contents: private schemas, and the header of a store of vectors.
    """
    return {
        f"{model.__module__}.{model.__name__}": [
            name
            for name in model.__annotations__
            if name in model.model_fields
            and not any(name in getattr(base, "model_fields", {}) for base in model.__bases__)
        ]
        for model in models()
        if not model.__name__.startswith("_") and model is not Header
    }


def test_there_are_few_settings() -> None:
    found = settings()
    assert sum(map(len, found.values())) <= MOST, found


def test_every_kind_of_setting_is_counted() -> None:
    found = settings()
    assert found["tacit.training.config.TrainingConfig"][:2] == ["seed", "steps"]
    assert found["tacit.encoders.additive.AdditiveConfig"] == ["evidence", "hidden", "variational"]
    assert found["tacit.evaluation.audit.config.AuditTraining"] == []  # other defaults, nothing more to set


@pytest.mark.parametrize("model", models(), ids=lambda model: model.__name__)
def test_unknown_settings_are_refused(model: type[BaseModel]) -> None:
    handed_on = issubclass(model, PartConfig)  # what it does not know, the part's own settings must
    assert model.model_config.get("extra") == ("allow" if handed_on else "forbid")
