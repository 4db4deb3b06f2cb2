"""Training a reward model from choices: standardise, train, calibrate. Tensors only; texts stay outside."""

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from tacit.choices.index import ChoiceIndex
from tacit.episodes.hashing import step_generator
from tacit.episodes.sampler import Episode, EpisodeSampler
from tacit.errors import ChoiceError, ConfigError
from tacit.rewards.config import RewardConfig
from tacit.rewards.model import RewardModel
from tacit.rewards.network import RewardNetwork
from tacit.rewards.reference import EmbedderReference
from tacit.rewards.seen import Seen
from tacit.training.config import TrainingConfig
from tacit.training.diagnostics import collapse_report
from tacit.training.hardware import cpu_threads
from tacit.training.loop import Event, train

__all__ = ["fit_reward", "validation_episodes"]

logger = logging.getLogger(__name__)

VALIDATION_DRAWS = 4
M = TypeVar("M", bound=RewardModel)


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
    name: str = "reward",
    folder: Path | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> M:
    """Fit a reward model on the users of `choices`, stop and calibrate on the users of `validation`.

    Args:
        choices: training choices over items 0 .. n - 1.
        vectors: raw item vectors Float[items dim] of both indices.
        validation: choices of other users.
        model_class: `RewardModel`, or a baseline that shares its training.
        target_groups: Bool[groups]; where given, validation targets are the choices inside these groups and contexts
            the choices outside, so that early stopping sees prompts that training did not.
        folder: where `metrics.jsonl` and `checkpoint/` live while training; None keeps everything in memory.

    Raises:
        ChoiceError: too few users, or vectors that do not fit.
        ConfigError: the ELBO of a deterministic encoder.
    """
    config, training = config or RewardConfig(), training or TrainingConfig()
    if training.objective.kind == "elbo" and config.encoder != "none" and not config.variational:
        raise ConfigError("the ELBO needs an encoder with doubt; set variational=True, or use the predictive objective")
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
    tied = choices.rank[:, 1] == 0
    if choices.rank.shape[1] > 2:  # ties inside a ranking are Breslow's, and teach Davidson's parameter nothing
        tied &= choices.rank[:, 2] < 0
    if bool(tied.any()):
        config = config.model_copy(update={"ties": True})

    with torch.random.fork_rng(devices=[]):  # modules draw their initial weights from the global state
        torch.default_generator.manual_seed(training.seed)
        network = model_class.network_class(vectors.shape[1], config)
    used = choices.items[choices.rank >= 0].unique()
    network.standardizer.fit(vectors[used].float())
    with torch.no_grad():
        standard = network.standardizer(vectors.float())
    sampler = EpisodeSampler(choices, standard, training.max_context, training.targets, training.seed)
    episodes = validation_episodes(validation, standard, training, target_groups)

    def validate(module: nn.Module) -> dict[str, float]:
        assert isinstance(module, RewardNetwork)
        moved = [_to(e, next(module.parameters()).device) for e in episodes]
        measured = _measure(module, moved)
        return measured | (collapse_report(module, moved[0]) if config.encoder != "none" else {})

    run = _run_fingerprint(model_class.name, choices, validation, target_groups, standard, config, training)
    result = train(network, sampler, validate, training, name=name, folder=folder, run=run, on_event=on_event)
    if config.encoder != "none":
        _warn_if_inert(result.best, name, on_event)
    with torch.no_grad():
        network.settle(standard[used])
    with cpu_threads(result.hardware.threads):
        temperature = _fit_temperature(network, episodes)
    notes: dict[str, Any] = {
        "steps": result.steps,
        "best_step": result.best_step,
        "seconds": result.seconds,
        "seed": training.seed,
        "max_context": training.max_context,
        **{f"validation_{key}": value for key, value in result.best.items()},
    }
    return model_class(network, temperature, embedder, seen or Seen.nothing(), notes)


def validation_episodes(
    choices: ChoiceIndex,
    vectors: Tensor,
    training: TrainingConfig,
    target_groups: Tensor | None = None,
    *,
    at_most: int = 1000,
) -> list[Episode]:
    """A few fixed episodes over (up to `at_most`) validation users, with k uniform as in training."""
    sampler = EpisodeSampler(
        choices, vectors, training.max_context, training.targets, training.seed + 1, target_groups=target_groups
    )
    users = (choices.counts > 0).nonzero().squeeze(1)
    if len(users) > at_most:
        drawn = torch.randperm(len(users), generator=step_generator(training.seed, 7))[:at_most]
        users = users[drawn.sort().values]
    return [sampler.sample(users, draw) for draw in range(VALIDATION_DRAWS)]


@torch.no_grad()
def _probability(
    network: RewardNetwork, episode: Episode, temperature: float | Tensor = 1.0, *, reverse: bool = False
) -> Tensor:
    """P(first slot over second) of each target, or of the reverse: Float[users targets], for each temperature."""
    posterior = network.posterior(episode.context)
    first, second = episode.target.vectors[:, :, 0], episode.target.vectors[:, :, 1]
    a, b = (second, first) if reverse else (first, second)
    return network.preference(posterior, a, b, temperature=temperature)


def _log_likelihood(network: RewardNetwork, episode: Episode, forward: Tensor, backward: Tensor | None) -> Tensor:
    """Posterior-averaged log p of targets; a ranking counts by its best against its second."""
    if network.log_nu is not None and backward is not None:
        tie = episode.target.rank[:, :, 1] == 0
        forward = torch.where(tie, 1 - forward - backward, forward)
    return forward.clamp(min=1e-12).log()


def _measure(network: RewardNetwork, episodes: list[Episode]) -> dict[str, float]:
    """Validation NLL and accuracy, per user and then averaged, over all episodes."""
    nll, accuracy, count = 0.0, 0.0, 0
    for episode in episodes:
        forward, backward = _probability(network, episode), _probability(network, episode, reverse=True)
        log_p, weight = _log_likelihood(network, episode, forward, backward), episode.target.weight
        total = weight.sum(-1)
        present = total > 0
        tie = episode.target.rank[:, :, 1] == 0  # neither order is right
        right = torch.where(tie, 0.5, (forward > backward).float() + 0.5 * (forward == backward).float())
        nll -= ((log_p * weight).sum(-1) / total)[present].sum().item()
        accuracy += ((right * weight).sum(-1) / total)[present].sum().item()
        count += int(present.sum())
    if not count:
        raise ChoiceError(
            "no validation user has both context and target choices; bring more choices per user or more prompts"
        )
    return {"nll": nll / count, "accuracy": accuracy / count}


def _fit_temperature(network: RewardNetwork, episodes: list[Episode]) -> float:
    """The one temperature with the least validation NLL, in [1/64, 64]: ever finer grids around the best so far.

    A grid's temperatures are tried together, so that the network runs once for all of them.
    """

    def losses(log_t: Tensor) -> Tensor:
        temperature = log_t.exp2()[:, None, None]
        total = torch.zeros_like(log_t)
        for episode in episodes:
            forward = _probability(network, episode, temperature)
            ties = network.log_nu is not None
            backward = _probability(network, episode, temperature, reverse=True) if ties else None
            total -= (_log_likelihood(network, episode, forward, backward) * episode.target.weight).sum((1, 2))
        return total

    best = 0.0
    for step, reach in ((1.0, 6), (1 / 3, 2), (1 / 9, 2), (1 / 27, 2)):
        grid = (best + step * torch.arange(-reach, reach + 1)).clamp(-6, 6)
        best = grid[losses(grid).argmin()].item()
    return 2.0**best


def _warn_if_inert(metrics: dict[str, float], name: str, on_event: Callable[[Event], None] | None) -> None:
    gain, error = metrics.get("swap_gain", 0.0), metrics.get("swap_gain_error", 0.0)
    if gain > 2 * error and metrics.get("active_units", 0) >= 1:
        return
    logger.warning(
        "%s: personalisation is inert: a user's own latent beats another user's by %.4f +- %.4f nats per choice, "
        "with %d active units; either users do not differ in what these vectors show, or they have too few choices",
        name, gain, error, int(metrics.get("active_units", 0)),
    )  # fmt: skip
    if on_event:
        on_event({"event": "inert", "name": name, "swap_gain": gain})


def _run_fingerprint(
    kind: str,
    choices: ChoiceIndex,
    validation: ChoiceIndex,
    target_groups: Tensor | None,
    vectors: Tensor,
    config: RewardConfig,
    training: TrainingConfig,
) -> str:
    """Of everything that the trajectory depends on; threads and device are left to the machine."""
    digest = hashlib.blake2b(digest_size=12)
    digest.update(kind.encode() + config.model_dump_json().encode())
    digest.update(training.model_dump_json(exclude={"threads", "device", "report_to"}).encode())
    for index in (choices, validation):
        for tensor in (index.user, index.items, index.rank, index.weight, index.group):
            digest.update(tensor.contiguous().numpy().data)
    for tensor in (vectors, target_groups):
        digest.update(b"" if tensor is None else tensor.contiguous().cpu().numpy().data)
    return digest.hexdigest()


def _to(episode: Episode, device: torch.device) -> Episode:
    return episode if episode.target.vectors.device == device else episode.to(device)
