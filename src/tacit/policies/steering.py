"""Connecting a modulator with a base model: around its sites, while a signal is set.

The signal of a request is set by `Steering.steer` and read at every site, whose `forward` is asked through `_Place`.
Three things could go wrong silently, and each is taken care of:

- A site that never runs, or runs without the users' axis (experts that see a shuffled list of tokens). `Steering`
  probes the model once and refuses such a site by name.
- Activation checkpointing computes a block again during backward, when the signal of that forward is long gone.
  Non-reentrant checkpoints take a context for that second computation, so each carries its own signal; reentrant ones
  cannot, and are refused.
- Several sequences per user (beams, samples): rows then come in equal consecutive runs per user, as `generate` lays
  them out, and signals are repeated likewise, once a forward.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from tacit.errors import ConfigError
from tacit.policies.modulators.modulator import Change, Modulator

__all__ = ["Steering", "unsteered"]


class _Nobody(threading.local):
    """Whether this thread is within `unsteered`."""

    now = False


_nobody = _Nobody()


@contextmanager
def unsteered() -> Iterator[None]:
    """Within the block no policy steers anything in this thread, whichever may share a base."""
    before, _nobody.now = _nobody.now, True
    try:
        yield
    finally:
        _nobody.now = before


class _Request:
    """Whom a forward pass is for: signals, laid out for its rows once and kept while their number stays."""

    _change: Change

    def __init__(self, modulator: Modulator, signals: Tensor, groups: Sequence[Sequence[int]]) -> None:
        self._modulator, self._signals, self._groups = modulator, signals, groups
        self._rows, self._differentiable = 0, False

    def change(self, rows: Tensor) -> Change:
        """For as many rows as `rows` has."""
        if self._rows != rows.shape[0] or self._differentiable != torch.is_grad_enabled():
            self._lay_out(rows)
        return self._change

    def _lay_out(self, inputs: Tensor) -> None:
        rows, users = inputs.shape[0], self._signals.shape[1]
        if rows % users:
            raise ConfigError(f"{rows} rows for {users} users; expected a z for every row, or equally many rows a user")
        signals = self._signals if rows == users else self._signals.repeat_interleave(rows // users, 1)
        self._rows, self._differentiable = rows, torch.is_grad_enabled()
        if self._differentiable:
            self._change = self._modulator.changes(signals)
        else:  # what is laid out without gradients never gets any
            self._change = self._modulator.serve(signals, self._groups, inputs.dtype)


class _Now(threading.local):
    """What one steering is at in this thread."""

    request: _Request | None = None


class _Place:
    """The `forward` of a module that is a site: its own, and around it the changes of every steering at work.

    In place of hooks, since a part is to run before the module: entering a forward hook behind a large map costs more
    than the change itself (`docs/log.md`). Several steerings of a model share the place; the last to go takes it away.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module, self._plain = module, module.forward
        self._steerings: list[tuple[_Now, int]] = []

    @classmethod
    def of(cls, module: nn.Module) -> "_Place":
        """The one that the module has, or now gets."""
        found = vars(module).get("forward")
        if not isinstance(found, cls):
            module.forward = found = cls(module)
        return found

    def add(self, now: _Now, number: int) -> None:
        """A steering, for which this is the site of that number."""
        self._steerings.append((now, number))

    def remove(self, now: _Now) -> None:
        """Of a steering that goes; where somebody has since put another `forward` around this one, it stays, idle."""
        self._steerings = [(other, number) for other, number in self._steerings if other is not now]
        if not self._steerings and vars(self._module).get("forward") is self:
            del self._module.forward
            if self._module.forward != self._plain:  # somebody else's was there before
                self._module.forward = self._plain

    def __call__(self, *args: Any, **settings: Any) -> Any:
        requests = [(request, number) for now, number in self._steerings if (request := now.request) is not None]
        if not requests or _nobody.now:
            return self._plain(*args, **settings)
        inputs = args[0] if args else next(value for value in settings.values() if isinstance(value, Tensor))
        changes = [
            (change := request.change(inputs), number, change.read(number, inputs)) for request, number in requests
        ]
        output = self._plain(*args, **settings)
        first = output[0] if isinstance(output, tuple) else output
        for change, number, noted in changes:
            first = change.write(number, noted, first)
        return (first, *output[1:]) if isinstance(output, tuple) else first


class Steering:
    """A modulator at work on a causal language model, which itself stays as it is: no wrapper, no renamed weight.

    Signals are kept per thread, so that one model can answer several threads.

    Raises:
        ConfigError: a site that the model never runs, or runs without the axis of users.
    """

    def __init__(self, model: Any, modulator: Modulator) -> None:
        self.model, self.modulator = model, modulator
        self._now = _Now()
        self._blocks: list[Any] = [part for part in model.modules() if isinstance(part, GradientCheckpointingLayer)]
        # On the model: a block's own hooks ran inside its checkpoint, too late, in the first transformers 5.
        self._handle = model.register_forward_pre_hook(self._remember)
        self._places = [_Place.of(model.get_submodule(site.name)) for site in modulator.sites]
        for number, place in enumerate(self._places):
            place.add(self._now, number)
        try:
            self._groups = self._probe()
        except BaseException:
            self.remove()
            raise

    @contextmanager
    def steer(self, z: Tensor) -> Iterator[None]:
        """Within the block the model answers row i as user z[i], Float[users latent]; n * users rows, n for each."""
        with self._set(_Request(self.modulator, self.modulator.signal(z), self._groups)):
            yield

    @contextmanager
    def off(self) -> Iterator[None]:
        """Within the block the model is the reference, even inside `steer`."""
        with self._set(None):
            yield

    def remove(self) -> None:
        """Leave the model as it was."""
        self._handle.remove()
        for place in self._places:
            place.remove(self._now)

    # -- inside --------------------------------------------------------------------------------------------------------

    @property
    def _request(self) -> _Request | None:
        """What this thread is at."""
        return None if _nobody.now else self._now.request

    @contextmanager
    def _set(self, request: _Request | None) -> Iterator[None]:
        before, self._now.request = self._now.request, request
        try:
            yield
        finally:
            self._now.request = before

    def _remember(self, model: Any, args: tuple[Any, ...]) -> None:
        """Before the model runs: each block's checkpoint, if it has one, is given contexts that remember the signal."""
        for block in self._blocks if self._request is not None else ():
            if not (block.gradient_checkpointing and block.training):
                continue
            run = block._gradient_checkpointing_func
            keywords = getattr(run, "keywords", {})
            if keywords.get("use_reentrant", True):
                raise ConfigError(
                    "reentrant activation checkpointing would train on wrong gradients here; give "
                    "gradient_checkpointing_kwargs={'use_reentrant': False}"
                )
            if keywords.get("context_fn") != self._contexts:
                block._gradient_checkpointing_func = partial(run, context_fn=self._contexts)

    def _contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """For one checkpoint: nothing to do now, and this moment's request for the second computation."""
        return nullcontext(), self._set(self._request)

    @torch.no_grad()
    def _probe(self) -> list[list[int]]:
        """Two users, three tokens: every site must run once, with [2, 3, inputs].

        Returns the sites in the order of running, those that were given the very same inputs together.
        """
        seen: dict[int, tuple[torch.Size, Tensor]] = {}

        def look(number: int, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            first = output[0] if isinstance(output, tuple) else output
            seen[number] = first.shape, args[0] if args else first  # kept, so that no other tensor takes its address

        sites = self.modulator.sites
        places = [self.model.get_submodule(site.name) for site in sites]
        handles = [place.register_forward_hook(partial(look, number)) for number, place in enumerate(places)]
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
        for number, site in enumerate(sites):
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
