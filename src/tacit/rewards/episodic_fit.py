"""What every model trained on episodes has in common: checked and standardised data, the loop, the temperature."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tacit.choices.index import ChoiceIndex
from tacit.episodes.episode import Episode
from tacit.episodes.hashing import step_generator
from tacit.episodes.sampler import EpisodeSampler
from tacit.errors import ChoiceError
from tacit.events import Listener
from tacit.rewards.calibration import fit_temperature, measure
from tacit.rewards.network import Standardizer
from tacit.training.config import TrainingConfig
from tacit.training.hardware import cpu_threads
from tacit.training.loop import TrainingResult, train

__all__ = ["FitData", "fit_data", "fit_network", "seeded_modules", "validation_episodes"]

VALIDATION_DRAWS = 4


@dataclass(frozen=True)
class FitData:
    """Training and validation choices over standardised item vectors.

    Shapes:
        choices: training users who chose something, renumbered from 0.
        validation: choices of other users.
        raw: Float[items dim], vectors as they were given.
        vectors: Float32[items width], standardised.
        used: Int64[chosen], items that training choices speak of.
        target_groups: Bool[groups] of the validation targets, or None.
    """

    choices: ChoiceIndex
    validation: ChoiceIndex
    raw: Tensor
    vectors: Tensor
    used: Tensor
    target_groups: Tensor | None
    standardizer: Standardizer

    def episodes(self, training: TrainingConfig) -> list[Episode]:
        """The fixed validation episodes."""
        return validation_episodes(self.validation, self.vectors, training, self.target_groups)


def fit_data(
    choices: ChoiceIndex,
    vectors: Tensor,
    *,
    validation: ChoiceIndex,
    target_groups: Tensor | None = None,
    principal: int | None = None,
) -> FitData:
    """Check that there is something to fit, leave out users without choices, standardise items.

    Args:
        choices: training choices over items 0 .. n - 1.
        vectors: raw item vectors Float[items dim] of both indices.
        validation: choices of other users.
        target_groups: Bool[groups]; where given, validation targets are the choices inside these groups and contexts
            the choices outside, so that early stopping sees prompts that training did not.
        principal: read items by so many principal components.

    Raises:
        ChoiceError: too few users, or vectors that do not fit.
        ConfigError: more principal components than items or numbers per item.
    """
    present = int((choices.counts > 0).sum()), int((validation.counts > 0).sum())
    if present[0] < 2 or present[1] < 2:
        raise ChoiceError(
            f"{present[0]} training and {present[1]} validation users with choices; "
            "at least 2 of each are needed, bring more users"
        )
    choices = choices.of_users((choices.counts > 0).nonzero().squeeze(1))  # others would fill batches with nothing
    last = max(int(choices.items.max()), int(validation.items.max()))
    if vectors.ndim != 2 or last >= len(vectors):
        raise ChoiceError(
            f"vectors of shape {list(vectors.shape)} where the choices speak of items up to {last}; "
            "give one row of numbers per item"
        )
    used = choices.items[choices.rank >= 0].unique()
    standardizer = Standardizer(vectors.shape[1], principal)
    standardizer.fit(vectors[used].float())
    with torch.no_grad():
        standard = standardizer(vectors.float())
    return FitData(choices, validation, vectors, standard, used, target_groups, standardizer)


def fit_network(
    network: Any,
    data: FitData,
    training: TrainingConfig,
    *,
    settings: str,
    name: str,
    folder: Path | None = None,
    on_event: Listener | None = None,
) -> tuple[TrainingResult, float]:
    """Train `network` (a `Trainable` that is a `Predictor` with a `standardizer`) in place, then fit its temperature.

    Args:
        settings: kind and architecture as text, for the fingerprint of a run that may be resumed.
        folder: where `metrics.jsonl` and `checkpoint/` live while training; None keeps everything in memory.
    """
    network.standardizer.load_state_dict(data.standardizer.state_dict())
    sampler = EpisodeSampler(data.choices, data.vectors, training.max_context, training.targets, training.seed)
    episodes = data.episodes(training)

    def validate(module: Any) -> dict[str, float]:
        moved = [_to(e, next(module.parameters()).device) for e in episodes]
        return measure(module, moved) | module.diagnose(moved[0])

    run = _run_fingerprint(settings, data, training)
    result = train(network, sampler, validate, training, name=name, folder=folder, run=run, on_event=on_event)
    with torch.no_grad():
        network.settle(data.vectors[data.used])
    with cpu_threads(result.hardware.threads):
        return result, fit_temperature(network, episodes)


@contextmanager
def seeded_modules(seed: int) -> Iterator[None]:
    """Inside, modules draw their initial weights from `seed`; the caller's global random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def validation_episodes(
    choices: ChoiceIndex,
    vectors: Tensor,
    training: TrainingConfig,
    target_groups: Tensor | None = None,
    *,
    at_most: int = 1000,
    in_time: bool = False,
) -> list[Episode]:
    """A few fixed episodes over (up to `at_most`) validation users, with k uniform as in training.

    `in_time` is the sampler's: contexts come before targets.
    """
    sampler = EpisodeSampler(
        choices, vectors, training.max_context, training.targets, training.seed + 1, target_groups=target_groups,
        in_time=in_time,
    )  # fmt: skip
    users = (choices.counts > 0).nonzero().squeeze(1)
    if len(users) > at_most:
        drawn = torch.randperm(len(users), generator=step_generator(training.seed, 7))[:at_most]
        users = users[drawn.sort().values]
    return [sampler.sample(users, draw) for draw in range(VALIDATION_DRAWS)]


def _run_fingerprint(settings: str, data: FitData, training: TrainingConfig) -> str:
    """Of everything that the trajectory depends on; threads and device are left to the machine."""
    digest = hashlib.blake2b(digest_size=12)
    digest.update(settings.encode())
    digest.update(training.model_dump_json(exclude={"threads", "device", "report_to"}).encode())
    for index in (data.choices, data.validation):
        for tensor in (index.user, index.items, index.rank, index.weight, index.group):
            digest.update(tensor.contiguous().numpy().data)
    for tensor in (data.vectors, data.target_groups):
        digest.update(b"" if tensor is None else tensor.contiguous().cpu().numpy().data)
    return digest.hexdigest()


def _to(episode: Episode, device: torch.device) -> Episode:
    return episode if episode.target.vectors.device == device else episode.to(device)
