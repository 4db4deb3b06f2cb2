"""Connecting a modulator with a base model: around its sites, while a signal is set.

The signal of a request is set by `Steering.steer` and read at every site, whose `forward` is asked through a `Place`.
Three things could go wrong silently, and each is taken care of:

- A site that never runs, or runs without the users' axis (experts that see a shuffled list of tokens). `Steering`
  probes the model once and refuses such a site by name.
- Activation checkpointing computes a block again during backward, when the signal of that forward is long gone.
  Non-reentrant checkpoints take a context for that second computation, so each carries its own signal; reentrant ones
  cannot, and are refused.
- Several sequences per user (beams, samples): rows then come in equal consecutive runs per user, as `generate` lays
  them out, and signals are repeated likewise, once a forward.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from tacit.engines.transformers.forward_patch import Now, Place, Request, nobody
from tacit.errors import ConfigError
from tacit.steering.modulators.modulator import Modulator

__all__ = ["Steering"]


class Steering:
    """A modulator at work on a causal language model, which itself stays as it is: no wrapper, no renamed weight.

    Signals are kept per thread, so that one model can answer several threads.

    Raises:
        ConfigError: a site that the model never runs, or runs without the axis of users.
    """

    def __init__(self, model: Any, modulator: Modulator) -> None:
        self.model, self.modulator = model, modulator
        self._now = Now()
        self._blocks: list[Any] = [part for part in model.modules() if isinstance(part, GradientCheckpointingLayer)]
        # On the model: a block's own hooks ran inside its checkpoint, too late, in the first transformers 5.
        self._handle = model.register_forward_pre_hook(self._remember)
        self._places = [Place.of(model.get_submodule(site.name)) for site in modulator.sites]
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
        with self._set(Request(self.modulator, self.modulator.signal(z), self._groups)):
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
    def _request(self) -> Request | None:
        """What this thread is at."""
        return None if nobody.now else self._now.request

    @contextmanager
    def _set(self, request: Request | None) -> Iterator[None]:
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
