"""Connecting a modulator with a base model: hooks that change its sites while a signal is set, and nothing otherwise.

The signal of a request is set by `Steering.steer` and read by the hook of every site. Three things could go wrong
silently, and each is taken care of:

- A site that never runs, or runs without the users' axis (experts that see a shuffled list of tokens). `Steering`
  probes the model once and refuses such a site by name.
- Activation checkpointing computes a block again during backward, when the signal of that forward is long gone.
  Non-reentrant checkpoints take a context for that second computation, so each carries its own signal; reentrant ones
  cannot, and are refused.
- Several sequences per user (beams, samples): rows then come in equal consecutive runs per user, as `generate` lays
  them out, and signals are repeated likewise, once a forward.
"""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from tacit.errors import ConfigError
from tacit.policies.modulators.modulator import Modulator, Site

__all__ = ["Steering", "unsteered"]

_nobody = threading.local()


@contextmanager
def unsteered() -> Iterator[None]:
    """Within the block no policy steers anything in this thread, whichever may share a base."""
    before, _nobody.now = getattr(_nobody, "now", False), True
    try:
        yield
    finally:
        _nobody.now = before


class _Request:
    """Whom a forward pass is for: each site's signal, laid out for its rows once and kept while their number stays."""

    def __init__(self, signals: Tensor) -> None:
        self.signals = signals
        self._kind: tuple[int, bool] | None = None
        self._by_site: tuple[Tensor, ...] = ()

    def of_rows(self, rows: int) -> tuple[Tensor, ...]:
        """Per site Float[rows width].

        Divided in one go: sites that each took their own part would each give a gradient as large as the whole.
        """
        kind = rows, torch.is_grad_enabled()  # what is divided without gradients never gets any
        if self._kind != kind:
            users = self.signals.shape[1]
            if rows % users:
                raise ConfigError(
                    f"{rows} rows for {users} users; expected a z for every row, or equally many rows a user"
                )
            repeated = self.signals if rows == users else self.signals.repeat_interleave(rows // users, 1)
            self._kind, self._by_site = kind, repeated.unbind(0)
        return self._by_site


class Steering:
    """A modulator at work on a causal language model, which itself stays as it is: no wrapper, no renamed weight.

    Signals are kept per thread, so that one model can answer several threads.

    Raises:
        ConfigError: a site that the model never runs, or runs without the axis of users.
    """

    def __init__(self, model: Any, modulator: Modulator) -> None:
        self.model, self.modulator = model, modulator
        self._now = threading.local()
        self._handles = []
        self._blocks: list[Any] = [part for part in model.modules() if isinstance(part, GradientCheckpointingLayer)]
        # On the model: a block's own hooks ran inside its checkpoint, too late, in the first transformers 5.
        self._handles.append(model.register_forward_pre_hook(self._remember))
        for number, site in enumerate(modulator.sites):
            hook = partial(self._change, number)
            self._handles.append(model.get_submodule(site.name).register_forward_hook(hook))
        try:
            self._probe()
        except BaseException:
            self.remove()
            raise

    @contextmanager
    def steer(self, z: Tensor) -> Iterator[None]:
        """Within the block the model answers row i as user z[i], Float[users latent]; n * users rows, n for each."""
        with self._set(_Request(self.modulator.signal(z))):
            yield

    @contextmanager
    def off(self) -> Iterator[None]:
        """Within the block the model is the reference, even inside `steer`."""
        with self._set(None):
            yield

    def remove(self) -> None:
        """Take every hook out again."""
        for handle in self._handles:
            handle.remove()

    # -- inside --------------------------------------------------------------------------------------------------------

    @property
    def _request(self) -> _Request | None:
        """What this thread is at."""
        return None if getattr(_nobody, "now", False) else getattr(self._now, "request", None)

    @contextmanager
    def _set(self, request: _Request | None) -> Iterator[None]:
        before, self._now.request = getattr(self._now, "request", None), request
        try:
            yield
        finally:
            self._now.request = before

    def _change(self, number: int, site: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        request = self._request
        if request is None:
            return output
        plain = output[0] if isinstance(output, tuple) else output
        signal = request.of_rows(plain.shape[0])[number]
        changed = self.modulator.change(number, args[0] if args else plain, plain, signal)
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

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
    def _probe(self) -> None:
        """Two users, three tokens: every site must run once, with [2, 3, inputs]."""
        seen: dict[str, torch.Size | None] = {}

        def look(site: Site, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            first = output[0] if isinstance(output, tuple) else output
            seen[site.name] = first.shape

        sites = self.modulator.sites
        handles = [self.model.get_submodule(site.name).register_forward_hook(partial(look, site)) for site in sites]
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
        for site in sites:
            shape = seen.get(site.name)
            if shape is None or tuple(shape) != (2, 3, site.outputs):
                found = "does not run" if shape is None else f"gives {tuple(shape)}"
                raise ConfigError(
                    f"{site.name} {found} where 2 users with 3 tokens went in, so users cannot be told apart there; "
                    "leave it out with targets"
                )
