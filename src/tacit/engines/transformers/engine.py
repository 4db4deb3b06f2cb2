"""`TransformersEngine`: a base in this process, steered around its modules' `forward` while the engine is open."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from os import PathLike
from typing import Any, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from tacit.choices.conversation import Conversation, parse_answer
from tacit.embedders.windows import token_budget_batches
from tacit.engines.engine import Answer, Request, Sampling
from tacit.engines.transformers.base import Base, load_base
from tacit.engines.transformers.dialogue import Dialogue
from tacit.engines.transformers.forward_patch import unsteered
from tacit.engines.transformers.generation import asked, draw, no_room, stream
from tacit.engines.transformers.log_probs import response_log_probs
from tacit.engines.transformers.steering import Steering
from tacit.errors import ChoiceError, ConfigError
from tacit.steering.config import PolicyConfig
from tacit.steering.policy import SteerablePolicy

__all__ = ["TransformersEngine", "open_engine"]

T = TypeVar("T")

_TOKENS_CPU, _TOKENS_ACCELERATOR = 4096, 32768
"""Padded tokens per batch where nothing is written."""


class TransformersEngine:
    """An `Engine` over a loaded base and, if given, a policy trained on it.

    Several engines may share a base, and several threads an engine: everybody gets their own user. Closing it, or
    dropping it, puts back what was there.

    Args:
        policy: its weights are used where they lie if that is the base's device, else a copy there.

    Attributes:
        dialogue: how conversations become the base's tokens.
        steering: the policy's modulator at work; None without a policy.

    Raises:
        ConfigError: another base than the policy's, or one that cannot be steered so.
    """

    def __init__(self, base: Base, policy: SteerablePolicy | None = None) -> None:
        self.base, self.policy = base, policy
        config = PolicyConfig() if policy is None else policy.config
        self.dialogue = Dialogue(base, template=config.template, max_length=config.max_length)
        self.steering: Steering | None = None
        self._closing, self._busy, self._idle = threading.Event(), Counter[int](), threading.Condition()
        if policy is None:
            return
        if base.fingerprint != policy.base.fingerprint:
            raise ConfigError(
                f"base '{base.name}' is not the one this policy was trained on ('{policy.base.name}'): its files' hash "
                f"is {base.fingerprint[:8]}, expected {policy.base.fingerprint[:8]}; name that one as base"
            )
        modulator = policy.modulator
        if modulator.unit.device != base.device:
            modulator = deepcopy(modulator).to(base.device)
        modulator.check(self.dialogue.prompt(Conversation.parse("?")), chat=self.dialogue.chat)
        self.steering = Steering(base.model, modulator)

    # -- the contract --------------------------------------------------------------------------------------------------

    def generate(self, requests: Sequence[Request]) -> list[list[Answer]]:
        """The answers to each request; those of equal sampling, all steered or none, are written side by side.

        Raises:
            ChoiceError: messages that the base cannot read, or that leave no room for an answer.
            ConfigError: a user without a policy, a z that does not fit, an engine that is closed.
        """
        several = len(requests) > 1
        prompts = [self._prompt(one.messages, f"prompt {n} " * several) for n, one in enumerate(requests, 1)]
        together: dict[tuple[Sampling, bool], list[int]] = {}
        for number, request in enumerate(requests):
            together.setdefault((self._sampling(request), request.z is None), []).append(number)
        answers: dict[int, list[Answer]] = {}
        for (sampling, plain), numbers in together.items():
            rows = asked(self.dialogue, [prompts[number] for number in numbers], sampling)
            z = None if plain else torch.stack([_z(requests[number]) for number in numbers])
            with self.steered(z) as model:
                answers.update(zip(numbers, draw(model, self.dialogue, rows, sampling), strict=True))
        return [answers[number] for number in range(len(requests))]

    def stream(self, request: Request) -> Iterator[str]:
        """One answer, piece by piece as it is written; its samples and beams are not looked at.

        Raises:
            ChoiceError, ConfigError: as `generate`, before anything is read.
        """
        self._refuse_closed()
        sampling = self._sampling(request)
        rows = asked(self.dialogue, [self._prompt(request.messages)], sampling)
        z = None if request.z is None else self._latents(_z(request).unsqueeze(0))
        return stream(lambda: self.steered(z), self.dialogue, rows, sampling, self._closing)

    def log_probs(self, items: Sequence[tuple[Any, Any]], z: Tensor | None = None) -> Tensor:
        """Log-probability in nats of each answer to its messages: Float32[items]; z Float[items latent] or [1 latent].

        Raises:
            ChoiceError: messages or an answer that the base cannot read, or too long for it.
            ConfigError: as `generate`.
        """
        if not items:
            raise ConfigError("nothing to answer; give at least one prompt")
        if z is not None and len(z) not in (1, len(items)):
            raise ConfigError(f"{len(items)} prompts for {len(z)} users; expected one user, or one a prompt")
        rows = []
        for messages, answer in items:
            conversation = _said(Conversation.parse, messages, "a prompt ")
            response = self.dialogue.response(conversation, _said(parse_answer, answer, "an answer "))
            rows.append(self.dialogue.row(self.dialogue.prompt(conversation), response))
        return self.row_log_probs(rows, None if z is None else z.expand(len(items), -1))

    def unfit(self, prompts: Sequence[Any], sampling: Sampling) -> dict[int, str]:
        """Why prompts, by number, cannot be answered: those that leave no room for it in the base."""
        causes = (
            (number, no_room(self.dialogue, len(self._prompt(one)), sampling)) for number, one in enumerate(prompts)
        )
        return {number: cause for number, cause in causes if cause}

    def close(self) -> None:
        """Put back what was there, after what other threads are being answered; streams stop."""
        self._closing.set()
        own = threading.get_ident()
        with self._idle:
            self._idle.wait_for(lambda: not any(count for thread, count in self._busy.items() if thread != own))
        if self.steering is not None:
            self.steering.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # -- in this process -----------------------------------------------------------------------------------------------

    @contextmanager
    def steered(self, z: Tensor | None) -> Iterator[Any]:
        """The base's model, within the block and in this thread steered by z, Float[users latent] (None: not at all).

        Raises:
            ConfigError: a z without a policy, or that does not fit; an engine that is closed.
        """
        z = None if z is None else self._latents(z)
        thread = threading.get_ident()
        with self._idle:
            self._refuse_closed()
            self._busy[thread] += 1
        try:
            with ExitStack() as work:
                work.enter_context(unsteered(end=z is not None))
                if z is not None and self.steering is not None:
                    work.enter_context(self.steering.steer(z))
                yield self.base.model
        finally:
            with self._idle:
                self._busy[thread] -= 1
                self._busy += Counter()  # drops threads that are done
                self._idle.notify_all()

    @torch.inference_mode()
    def row_log_probs(
        self,
        rows: Sequence[tuple[list[int], int]],
        z: Tensor | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Tensor:
        """Log-probability in nats of each row's response, Float32[rows], in batches of like length.

        Args:
            rows: of the dialogue.
            z: Float[rows latent]; None = the base's.
            progress: called with (done, total) rows.
        """
        found, done = torch.zeros(len(rows)), 0
        budget = _TOKENS_CPU if self.base.device.type == "cpu" else _TOKENS_ACCELERATOR
        for batch in token_budget_batches(np.array([len(ids) for ids, _ in rows]), budget):
            place = torch.from_numpy(batch.copy())
            tokens = self.dialogue.batch([rows[at] for at in batch]).to(self.base.device)
            with self.steered(None if z is None else z[place]) as model:
                found[place] = response_log_probs(model, tokens).float().cpu()
            done += len(batch)
            if progress:
                progress(done, len(rows))
        return found

    def _prompt(self, messages: Any, name: str = "") -> list[int]:
        return self.dialogue.prompt(_said(Conversation.parse, messages, name or "the prompt "))

    def _sampling(self, request: Request) -> Sampling:
        """What is drawn as the base writes is within it anyway."""
        plain = request.z is None and request.sampling.within_base
        return request.sampling.model_copy(update={"within_base": False}) if plain else request.sampling

    def _latents(self, z: Tensor) -> Tensor:
        if self.policy is None:
            raise ConfigError("this engine runs a base without a policy, which no user can steer; open it with one")
        return self.policy.latents(z).to(self.base.device)

    def _refuse_closed(self) -> None:
        if self._closing.is_set():
            raise ConfigError("this engine is closed; open another one")


def open_engine(
    policy: SteerablePolicy | str | PathLike[str],
    *,
    base: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
) -> TransformersEngine:
    """An engine over a policy (or its folder), with its base loaded under the name it was trained with, or `base`.

    Args:
        base: path or hub name, where the base is not under its old name.
        device: default an accelerator if there is one, else the CPU.
        dtype: of the base; default float32 on a CPU, else the checkpoint's own.

    Raises:
        ModelFormatError: a damaged policy folder.
        ConfigError: the base is missing, or not the one that the policy was trained on.
    """
    if not isinstance(policy, SteerablePolicy):
        policy = SteerablePolicy.load(policy)
    return TransformersEngine(load_base(base or policy.base.name, device=device, dtype=dtype), policy)


def _said(parse: Callable[[Any], T], said: Any, name: str) -> T:
    """What somebody said, in any form; the cause of a refusal is told of `name`."""
    try:
        return parse(said)
    except ChoiceError as error:
        raise ChoiceError(f"{name}{error}") from None


def _z(request: Request) -> Tensor:
    assert request.z is not None
    if request.z.ndim != 1:
        raise ConfigError(f"a request's z has the shape {tuple(request.z.shape)}; expected [latent]")
    return request.z
