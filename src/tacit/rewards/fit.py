"""Training a reward model from choices: standardise, train, calibrate. Tensors only; texts stay outside."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from tacit.choices.index import ChoiceIndex
from tacit.episodes.hashing import mix
from tacit.errors import ConfigError
from tacit.events import Listener
from tacit.rewards.ageing import fit_half_life, timed
from tacit.rewards.calibration import fit_temperature, measure
from tacit.rewards.config import RewardConfig
from tacit.rewards.embedder_reference import EmbedderReference
from tacit.rewards.ensemble import fit_scale, folds, join_members
from tacit.rewards.episodic_fit import FitData, fit_data, fit_network, seeded_modules
from tacit.rewards.heads.bilinear import BasedFeatures, BilinearHead
from tacit.rewards.model import RewardModel
from tacit.rewards.network import RewardNetwork
from tacit.rewards.seen import Seen
from tacit.training.config import TrainingConfig
from tacit.training.loop import TrainingResult

__all__ = ["fit_reward"]

logger = logging.getLogger(__name__)

M = TypeVar("M", bound=RewardModel)

_FEW, _TELLING = 5, 0.05
"""Of fewer users, or where so many nats per choice cannot be excluded, nothing is said to be inert."""


def fit_reward(
    choices: ChoiceIndex,
    vectors: Tensor,
    *,
    validation: ChoiceIndex,
    model_class: type[M] = RewardModel,
    target_groups: Tensor | None = None,
    config: RewardConfig | None = None,
    training: TrainingConfig | None = None,
    embedder: EmbedderReference | None = None,
    seen: Seen | None = None,
    pooled: RewardModel | None = None,
    name: str = "reward",
    folder: Path | None = None,
    on_event: Listener | None = None,
) -> M:
    """Fit a reward model on the users of `choices`, stop and calibrate on the users of `validation`.

    Args:
        choices, vectors, validation, target_groups: as for `fit_data`.
        model_class: `RewardModel`, or a baseline that shares its training.
        pooled: the pooled model for `config.base`, trained on the same items; None trains it first.
        folder: where `metrics.jsonl` and `checkpoint/` live while training; None keeps everything in memory.

    Raises:
        ChoiceError: too few users, or vectors that do not fit.
        ConfigError: the ELBO of a deterministic encoder.
    """
    config, training = config or RewardConfig(), training or TrainingConfig()
    personal = config.personal
    if training.objective.kind == "elbo" and personal and not config.encoder.settings.has_kl:
        raise ConfigError(
            f"the ELBO needs a Gaussian posterior, which encoder {config.encoder.kind!r} with these settings does not "
            "have; use the predictive objective, or encoder = additive or attention"
        )
    data = fit_data(choices, vectors, validation=validation, target_groups=target_groups, principal=config.principal)
    if isinstance(config.half_life, float) and not (timed(data.choices) and timed(data.validation)):
        raise ConfigError(f"half_life = {config.half_life:g} ages choices, and some have no time; add times")
    tied = data.choices.rank[:, 1] == 0
    if data.choices.rank.shape[1] > 2:  # ties inside a ranking are Breslow's, and teach Davidson's parameter nothing
        tied &= data.choices.rank[:, 2] < 0
    ties = bool(tied.any())
    if personal and config.base and pooled is None:
        pooled = _fit_base(choices, vectors, validation, target_groups, config, training, folder, on_event)
    parts = folds(data, config.members, training.seed)
    trained = [
        _fit_member(
            model_class, config, ties, parts[number], _member_seed(training, number), pooled, label, place, on_event
        )
        for number, label, place in _members(config.members, name, folder)
    ]
    network, temperature, result = trained[0]
    best, steps, seconds = result.best, result.steps, result.seconds
    if len(trained) > 1:
        members, _, results = zip(*trained, strict=True)
        with seeded_modules(training.seed):
            network = model_class.network_class(vectors.shape[1], config, ties=ties)
        network.standardizer.load_state_dict(data.standardizer.state_dict())
        scale = fit_scale(members, [part.episodes(training) for part in parts])
        logger.info("%s: scale of the personal part %.2f", name, scale)
        join_members(network.eval(), members, scale)
        episodes = data.episodes(training)
        temperature = fit_temperature(network, episodes)
        best = measure(network, episodes) | network.diagnose(episodes[0])
        steps, seconds = sum(r.steps for r in results), sum(r.seconds for r in results)
    if personal and config.half_life is not None:
        half_life, temperature = fit_half_life(network, data, training, config.half_life)
        network.config = config.model_copy(update={"half_life": half_life})
    if personal:
        _warn_if_inert(best, name, on_event)
    notes: dict[str, Any] = {
        "steps": steps,
        "best_step": result.best_step,
        "seconds": seconds,
        "seed": training.seed,
        "max_context": training.max_context,
        **{f"validation_{key}": value for key, value in best.items()},
    }
    return model_class(network, temperature, embedder, seen or Seen.nothing(), notes)


def _members(count: int, name: str, folder: Path | None) -> Iterator[tuple[int, str, Path | None]]:
    """Number, name in events, and folder of each member; one alone has the run's own."""
    yield 0, name if count == 1 else f"{name} 1/{count}", folder
    for number in range(1, count):
        yield number, f"{name} {number + 1}/{count}", None if folder is None else folder / f"member-{number + 1}"


def _member_seed(training: TrainingConfig, number: int) -> TrainingConfig:
    return training.model_copy(update={"seed": mix(training.seed, 31, number) % 2**32}) if number else training


def _fit_member(
    model_class: type[RewardModel],
    config: RewardConfig,
    ties: bool,
    data: FitData,
    training: TrainingConfig,
    pooled: RewardModel | None,
    name: str,
    folder: Path | None,
    on_event: Listener | None,
) -> tuple[RewardNetwork, float, TrainingResult]:
    """One network, trained alone, with its temperature."""
    config = config.model_copy(update={"members": 1})
    with seeded_modules(training.seed):
        network = model_class.network_class(data.standardizer.mean.shape[0], config, ties=ties)
    if pooled is not None and config.personal and config.base:
        _adopt_base(network, pooled)
    result, temperature = fit_network(
        network,
        data,
        training,
        settings=f"{model_class.name} {config.model_dump_json()} {ties}",
        name=name,
        folder=folder,
        on_event=on_event,
    )
    return network, temperature, result


def _fit_base(
    choices: ChoiceIndex,
    vectors: Tensor,
    validation: ChoiceIndex,
    target_groups: Tensor | None,
    config: RewardConfig,
    training: TrainingConfig,
    folder: Path | None,
    on_event: Listener | None,
) -> RewardModel:
    """The pooled reward that a personal one is built on: same data, head and budget."""
    place = None if folder is None else folder / "base"
    return fit_reward(
        choices, vectors, validation=validation, target_groups=target_groups, config=config.pooled(), training=training,
        name="base", folder=place, on_event=on_event,
    )  # fmt: skip


def _adopt_base(network: RewardNetwork, pooled: RewardModel) -> None:
    """Copy the pooled reward, divided by its temperature, into the frozen part."""
    features, source = network.head.net, pooled.network.head
    assert isinstance(features, BasedFeatures)
    same = all(getattr(pooled.network.config, key) == getattr(network.config, key) for key in ("head", "principal"))
    if not isinstance(source, BilinearHead) or source.latent or pooled.dim != network.dim or not same:
        raise ConfigError(
            "the pooled model is no bilinear BTL over items of this size; train it with the same settings"
        )
    features.base.load_state_dict(source.net.state_dict())
    last = features.base.get_submodule(str(len(features.base) - 1))
    with torch.no_grad():
        for parameter in last.parameters():
            parameter.div_(pooled.temperature)


def _warn_if_inert(metrics: dict[str, float], name: str, on_event: Listener | None) -> None:
    gain, error = metrics.get("swap_gain", 0.0), metrics.get("swap_gain_error", 0.0)
    active, users = int(metrics.get("active_units", 0)), int(metrics.get("swap_users", 0))
    if active and gain > 2 * error:
        return
    compared = f"a user's own latent beats other users' by {gain:.4f} +- {error:.4f} nats per choice"
    unclear = users < _FEW or (active and gain + 2 * error > _TELLING)
    if unclear:
        logger.warning(
            "%s: %d validation users are too few to tell whether personalisation helps: %s; `tacit audit` asks more of "
            "them, in several splits", name, users, compared,
        )  # fmt: skip
    else:
        logger.warning(
            "%s: personalisation is inert: %s, with %d active units; either users do not differ in what these vectors "
            "show, or they have too few choices", name, compared, active,
        )  # fmt: skip
    if on_event:
        on_event({"event": "unclear" if unclear else "inert", "name": name, "swap_gain": gain})
