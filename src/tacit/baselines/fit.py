"""Fitting a published method that is trained on episodes: data, seeded network, the shared loop, notes."""

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel
from torch import Tensor

from tacit.baselines.adaptive import AdaptiveModel
from tacit.choices.index import ChoiceIndex
from tacit.events import Listener
from tacit.rewards.episodic_fit import fit_data, fit_network, seeded_modules
from tacit.training.config import TrainingConfig

__all__ = ["fit_adaptive"]

M = TypeVar("M", bound=AdaptiveModel)


def fit_adaptive(
    model_class: type[M],
    config: BaseModel,
    choices: ChoiceIndex,
    vectors: Tensor,
    *,
    validation: ChoiceIndex,
    training: TrainingConfig,
    target_groups: Tensor | None = None,
    name: str | None = None,
    folder: Path | None = None,
    on_event: Listener | None = None,
) -> M:
    """Fit the network of `model_class` on the users of `choices`; stop and calibrate on those of `validation`.

    Args:
        config: the method's; `n_users`, where it has that field, is filled in.
        choices, vectors, validation, target_groups: as for `fit_data`.
        name, folder, on_event: as for `fit_network`.

    Raises:
        ChoiceError: too few users, or vectors that do not fit.
    """
    data = fit_data(choices, vectors, validation=validation, target_groups=target_groups)
    if "n_users" in type(config).model_fields:
        config = config.model_copy(update={"n_users": data.choices.n_users})
    with seeded_modules(training.seed):
        network: Any = model_class.network_class(vectors.shape[1], config)
    collapses = hasattr(network, "active_units")
    result, temperature = fit_network(
        network, data, training, settings=model_class.name + config.model_dump_json(), name=name or model_class.name,
        folder=folder, on_event=on_event,
        diagnose=(lambda module, episode: module.active_units(episode)) if collapses else None,  # type: ignore[operator]
    )  # fmt: skip
    notes = {"steps": result.steps, "best_step": result.best_step, "seconds": result.seconds, "seed": training.seed}
    return model_class(network, temperature, notes | {f"validation_{key}": value for key, value in result.best.items()})
