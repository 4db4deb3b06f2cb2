"""The training loop: steps, schedule, validation, early stop, checkpoints, metrics. It holds no maths of the model."""

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from tacit.episodes.episode import Episode
from tacit.episodes.hashing import mix, step_generator
from tacit.episodes.sampler import EpisodeSampler
from tacit.errors import ConfigError, OutputError
from tacit.events import Listener
from tacit.files import restore_folder
from tacit.training import checkpoint as checkpoints
from tacit.training.checkpoint import Progress, another_run, read_checkpoint, read_progress, write_checkpoint
from tacit.training.config import ObjectiveConfig, TrainingConfig
from tacit.training.hardware import Hardware, choose_hardware, cpu_threads
from tacit.training.run_log import RunLog

__all__ = ["Trainable", "TrainingResult", "train", "warmup_cosine"]

logger = logging.getLogger(__name__)


class Trainable(nn.Module):
    """A network that can say how badly it fits an episode."""

    def loss(self, episode: Episode, objective: ObjectiveConfig, generator: torch.Generator | None) -> Tensor:
        """Scalar loss of one episode, in nats per target."""
        raise NotImplementedError

    def diagnose(self, episode: Episode) -> dict[str, float]:
        """More numbers on a validation episode, for `metrics.jsonl` and the notes."""
        return {}

    def settle(self, items: Tensor) -> None:
        """Called once after training with the standardised training items; fixes what the likelihood leaves free."""


@dataclass(frozen=True)
class TrainingResult:
    """How a run went: steps done, the best validation and its step, seconds, and the hardware it chose."""

    steps: int
    best_step: int
    best: dict[str, float]
    seconds: float
    hardware: Hardware


def train(
    network: Trainable,
    sampler: EpisodeSampler,
    validate: Callable[[nn.Module], dict[str, float]],
    config: TrainingConfig,
    *,
    name: str = "reward",
    folder: Path | None = None,
    run: str = "",
    on_event: Listener | None = None,
) -> TrainingResult:
    """Fit `network` in place and leave it at its best validation NLL, on the CPU, in evaluation mode.

    Args:
        validate: returns numbers, among them `nll`, which decides what is best and when to stop.
        folder: where `metrics.jsonl` and `checkpoint/` live; an unfinished run of the same `run` fingerprint is resumed
            there on the same trajectory. None trains in memory only.
        run: fingerprint of everything the trajectory depends on.
        on_event: called with every `Event`; must be quick.

    Raises:
        ModelFormatError: the folder holds a damaged checkpoint.
        OutputError: it holds one of another run.
        ConfigError: the loss is not finite.
    """
    started = time.perf_counter()
    log = RunLog(name, folder, on_event)
    checkpoint = folder / "checkpoint" if folder else None
    progress = _resumable(checkpoint, run)
    hardware = choose_hardware(
        lambda device: _throwaway_step(network, sampler, config, device),
        device=config.device or (progress.device if progress.step else None),
        threads=config.threads or (progress.threads if progress.step else None),
    )
    network.to(hardware.device)
    sampler = sampler.to(hardware.device)
    optimizer = make_optimizer(network, config)
    best = _snapshot(network)
    if progress.step and checkpoint:
        progress, best = read_checkpoint(checkpoint, network, optimizer)
        logger.info("%s: resuming at step %d of %d", name, progress.step, config.steps)
    progress.threads, progress.device = hardware.threads, hardware.device
    log.begin(progress.step, config.report_to)
    log({"event": "start", "name": name, "step": progress.step, "steps": config.steps})

    running, counted = torch.tensor(progress.losses[0], device=hardware.device), progress.losses[1]
    saved = time.monotonic()
    with cpu_threads(hardware.threads):
        for step in range(progress.step, config.steps):
            if _out_of_patience(progress, config):
                break
            network.train()
            rate = config.learning_rate * warmup_cosine(step, config.steps, config.warmup)
            running += optimize(network, optimizer, sampler, config, step, rate)
            counted += 1
            progress.step = step + 1
            log({"event": "step", "name": name, "step": step + 1, "steps": config.steps})
            if progress.step % config.validate_every and progress.step != config.steps:
                if checkpoint and time.monotonic() - saved >= checkpoints.SECONDS:
                    progress.losses = running.item(), counted
                    write_checkpoint(checkpoint, network, best, optimizer, progress)
                    saved = time.monotonic()
                continue
            loss = running.item() / counted
            if not math.isfinite(loss):
                raise ConfigError(
                    f"{name}: the loss is {loss} at step {step + 1}; lower learning_rate, or look for odd item vectors"
                )
            running.zero_()
            counted, progress.losses, progress.validated = 0, (0.0, 0), progress.step
            network.eval()
            metrics = validate(network)
            if not math.isfinite(metrics["nll"]):
                raise ConfigError(
                    f"{name}: the validation NLL is {metrics['nll']} at step {step + 1}; lower learning_rate"
                )
            if metrics["nll"] < progress.best.get("nll", float("inf")):
                progress.best, progress.best_step, progress.worse = metrics, progress.step, 0
                best = _snapshot(network)
            else:
                progress.worse += 1
            log({
                "event": "validation", "name": name, "step": progress.step, "steps": config.steps, "loss": loss,
                "learning_rate": rate, **metrics, "seconds": time.perf_counter() - started,
            })  # fmt: skip
            if checkpoint:
                write_checkpoint(checkpoint, network, best, optimizer, progress)
                saved = time.monotonic()
        network.load_state_dict(best, strict=True)
        network.to("cpu").eval()
    seconds = time.perf_counter() - started
    log({"event": "end", "name": name, "step": progress.step, "steps": config.steps, "seconds": seconds})
    return TrainingResult(progress.step, progress.best_step, progress.best, seconds, hardware)


def warmup_cosine(step: int, steps: int, warmup: float) -> float:
    """Factor in (0, 1] on the peak rate: linear over the first `warmup` share, then cosine to 1 %."""
    rise = max(1, round(warmup * steps))
    if step < rise:
        return (step + 1) / rise
    progress = (step - rise) / max(1, steps - rise)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress))


def make_optimizer(network: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW; biases and other vectors are not decayed."""
    matrices = [p for p in network.parameters() if p.requires_grad and p.ndim > 1]
    vectors = [p for p in network.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=config.learning_rate, fused=True)


def optimize(
    network: Trainable,
    optimizer: torch.optim.Optimizer,
    sampler: EpisodeSampler,
    config: TrainingConfig,
    step: int,
    rate: float,
) -> Tensor:
    """One step at learning rate `rate`; returns the loss. A function of (weights, moments, seed, step)."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    episode = sampler.sample(sampler.users_of_step(step, config.users_per_batch), step)
    noise = step_generator(config.seed, 5, step, device=sampler.vectors.device)
    optimizer.zero_grad(set_to_none=True)
    with _step_randomness(config.seed, step, sampler.vectors.device):
        loss = network.loss(episode, config.objective, noise)
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), config.clip)
    optimizer.step()
    return loss.detach()


@contextmanager
def _step_randomness(seed: int, step: int, device: torch.device) -> Iterator[None]:
    """Dropout draws from the global state; here it is a function of (seed, step), and the caller's state is kept."""
    on_cuda = device.type == "cuda"
    generator = torch.cuda.default_generators[device.index or 0] if on_cuda else torch.default_generator
    before = generator.get_state()
    generator.manual_seed(mix(seed, 6, step))
    try:
        yield
    finally:
        generator.set_state(before)


def _throwaway_step(
    network: Trainable, sampler: EpisodeSampler, config: TrainingConfig, device: str
) -> Callable[[], None]:
    """A step on a copy, for timing only."""
    copy = deepcopy(network).to(device).train()
    there, optimizer = sampler.to(device), make_optimizer(copy, config)

    def step() -> None:
        optimize(copy, optimizer, there, config, 0, config.learning_rate)

    return step


def _resumable(checkpoint: Path | None, run: str) -> Progress:
    if checkpoint is None:
        return Progress(run)
    restore_folder(checkpoint)
    if not checkpoint.exists():
        return Progress(run)
    progress = read_progress(checkpoint)
    if progress.run != run:
        raise OutputError(another_run(checkpoint.parent))
    return progress


def _out_of_patience(progress: Progress, config: TrainingConfig) -> bool:
    return config.patience > 0 and progress.worse >= config.patience


def _snapshot(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
