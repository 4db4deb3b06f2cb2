"""Connecting a modulator with a base model: around its sites, while a signal is set.

The signals of a request are set by `Steering.steer` and read at every site, whose `forward` is asked through a `Place`.
Three things could go wrong silently, and each is taken care of:

- A site that never runs, or runs without the users' axis (experts that see a shuffled list of tokens). `Steering`
  probes the model once and refuses such a site by name.
- Activation checkpointing computes a block again during backward, when the signals of that forward are long gone.
  Non-reentrant checkpoints take a context for that second computation, so each carries its own; reentrant ones cannot,
  and are refused.
- Several sequences per user (beams, samples): rows then come in equal consecutive runs per user, as `generate` lays
  them out, and signals are repeated likewise, once a forward.
"""

import threading
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from tacit.engines.transformers.forward_patch import Now, Place, Signals, nobody
from tacit.errors import ConfigError
from tacit.steering.modulator import Modulator

__all__ = ["Steering"]


class Steering:
    """A modulator at work on a causal language model, which itself stays as it is: no wrapper, no renamed weight.

    Signals are kept per thread, so that one model can answer several threads. Nothing that hangs on the model refers to
    the modulator, and whoever drops a steering without removing it leaves the model as it was all the same.

    Raises:
        ConfigError: a site that the model does not have, never runs, or runs without the axis of users.
    """

    def __init__(self, model: Any, modulator: Modulator) -> None:
        self.model, self.modulator = model, modulator
        self._now = Now()
        modules = [_site(model, site.name) for site in modulator.sites]
        patches = _Patches(model, modules, self._now)
        self._removal = weakref.finalize(self, patches.remove)
        self._removal.atexit = False
        try:
            self._groups = self._probe(modules)
        except BaseException:
            self.remove()
            raise

    @contextmanager
    def steer(self, z: Tensor) -> Iterator[None]:
        """Within the block the model answers row i as user z[i], Float[users latent]; n * users rows, n for each."""
        with _at(self._now, Signals(self.modulator, self.modulator.signal(z), self._groups)):
            yield

    @contextmanager
    def off(self) -> Iterator[None]:
        """Within the block the model is the reference, even inside `steer`."""
        with _at(self._now, None):
            yield

    def remove(self) -> None:
        """Leave the model as it was."""
        self._removal()

    @torch.no_grad()
    def _probe(self, modules: list[nn.Module]) -> list[list[int]]:
        """Two users, three tokens: every site must run once, with [2, 3, inputs].

        Returns the sites in the order of running, those that were given the very same inputs together.
        """
        seen: dict[int, tuple[torch.Size, Tensor]] = {}
        own = threading.get_ident()

        def look(number: int, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            if threading.get_ident() != own:  # somebody else is answered at the moment
                return
            first = output[0] if isinstance(output, tuple) else output
            seen[number] = first.shape, args[0] if args else first  # kept, so that no other tensor takes its address

        handles = [part.register_forward_hook(partial(look, number)) for number, part in enumerate(modules)]
        training = self.model.training
        try:
            self.model.eval()
            ids = torch.zeros(2, 3, dtype=torch.int64, device=next(self.model.parameters()).device)
            with self.off():
                self.model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
        finally:
            self.model.train(training)
            for handle in handles:
                handle.remove()
        for number, site in enumerate(self.modulator.sites):
            shape = seen[number][0] if number in seen else None
            if shape is None or tuple(shape) != (2, 3, site.outputs):
                found = "does not run" if shape is None else f"gives {tuple(shape)}"
                raise ConfigError(
                    f"{site.name} {found} where 2 users with 3 tokens went in, so users cannot be told apart there; "
                    "leave it out with targets"
                )
        groups: dict[int, list[int]] = {}
        for number, (_, inputs) in seen.items():
            groups.setdefault(id(inputs), []).append(number)
        return list(groups.values())


class _Patches:
    """What hangs on a model for one steering, and how it goes; knows the model's parts and never the modulator."""

    def __init__(self, model: Any, modules: list[nn.Module], now: Now) -> None:
        self._now = now
        self._blocks: list[Any] = [part for part in model.modules() if isinstance(part, GradientCheckpointingLayer)]
        # On the model: a block's own hooks ran inside its checkpoint, too late, in the first transformers 5.
        self._handle = model.register_forward_pre_hook(self._remember)
        self._places = [Place.join(module, now, number) for number, module in enumerate(modules)]

    def remove(self) -> None:
        """Put back what was there."""
        self._handle.remove()
        for place in self._places:
            place.leave(self._now)
        for block in self._blocks:
            run = getattr(block, "_gradient_checkpointing_func", None)
            if isinstance(run, _Checkpoint):
                run.nows.discard(self._now)
                if not run.nows:
                    block._gradient_checkpointing_func = run.plain

    def _remember(self, model: Any, args: tuple[Any, ...]) -> None:
        """Before the model runs: each block's checkpoint, if it has one, comes to remember the signals."""
        if self._now.signals is None or nobody.now:
            return
        for block in self._blocks:
            if block.gradient_checkpointing and block.training:
                run = block._gradient_checkpointing_func
                if not isinstance(run, _Checkpoint):
                    block._gradient_checkpointing_func = run = _Checkpoint(run)
                run.nows.add(self._now)


class _Checkpoint:
    """A block's checkpoint that computes again under the signals of the first time, of every steering at work."""

    def __init__(self, plain: Any) -> None:
        if getattr(plain, "keywords", {}).get("use_reentrant", True):
            raise ConfigError(
                "reentrant activation checkpointing would train on wrong gradients here; give "
                "gradient_checkpointing_kwargs={'use_reentrant': False}"
            )
        self.plain, self.nows = plain, set[Now]()

    def __call__(self, *args: Any, **settings: Any) -> Any:
        return self.plain(*args, **settings, context_fn=self._contexts)

    def _contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """For one checkpoint: nothing to do now, and this moment's signals for the second computation."""
        off = nobody.now
        return nullcontext(), _all_at({now: None if off else now.signals for now in self.nows})


@contextmanager
def _at(now: Now, signals: Signals | None) -> Iterator[None]:
    before, now.signals = now.signals, signals
    try:
        yield
    finally:
        now.signals = before


@contextmanager
def _all_at(signals: dict[Now, Signals | None]) -> Iterator[None]:
    before = {now: now.signals for now in signals}
    for now, own in signals.items():
        now.signals = own
    try:
        yield
    finally:
        for now, own in before.items():
            now.signals = own


def _site(model: Any, name: str) -> nn.Module:
    try:
        return model.get_submodule(name)
    except AttributeError:
        raise ConfigError(f"{name} is no module of this base; open the policy on the base it was trained on") from None
