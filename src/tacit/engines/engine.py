"""The contract of an engine: whoever runs a language model takes these requests and gives these answers.

An engine knows nothing of how a z came about, leaves its base as it was when it is closed, and refuses in one line what
it cannot do.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from tacit.errors import ConfigError

__all__ = ["Answer", "Engine", "Request", "Sampling", "requests"]


class Sampling(BaseModel):
    """How answers are drawn: plain data, the same for every engine.

    Attributes:
        max_new_tokens: the longest answer.
        temperature: 0 = always the most likely token.
        top_p: the smallest set of tokens of this probability is drawn from.
        stop: texts that end an answer, which does not contain them.
        within_base: draw only tokens that the unsteered base could draw too, at this temperature and top_p. What
            somebody wants then changes which of its sentences the base writes, and not how (as contrastive decoding
            keeps to plausible tokens, Li et al., 2023, arXiv 2210.15097). Costs a forward of the base for every token.
        beams: beam search over so many, with temperature 0; 1 = none.
        samples: answers to each prompt.
        seed: fixes the draws.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    max_new_tokens: int = Field(default=128, ge=1)
    temperature: float = Field(default=1.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    stop: tuple[str, ...] = ()
    within_base: bool = False
    beams: int = Field(default=1, ge=1)
    samples: int = Field(default=1, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**63)

    @property
    def drawn(self) -> bool:
        """Whether chance plays a part."""
        return self.temperature > 0 and self.beams == 1

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.within_base and not (self.drawn and self.top_p < 1):
            raise ValueError("within_base limits draws: it needs a temperature above 0, top_p below 1 and no beams")
        if self.samples > self.beams and not self.drawn:
            raise ValueError(
                f"{self.samples} answers of {self.beams} beams, or at temperature 0, would not differ; "
                "raise beams, or the temperature without beams"
            )
        if not all(self.stop):
            raise ValueError("stop holds an empty text, which every answer begins with; leave it out")
        return self


@dataclass(frozen=True, eq=False)
class Request:
    """One prompt, for whom it is answered, and how.

    Attributes:
        messages: anything `Conversation.parse` takes.
        z: Float[latent] of a policy's user; None = the base, unsteered.
    """

    messages: Any
    z: Tensor | None = None
    sampling: Sampling = field(default_factory=Sampling)


@dataclass(frozen=True)
class Answer:
    """What was written.

    Attributes:
        ended: whether it came to its end; otherwise it was cut at `max_new_tokens`.
        tokens: how many were written, its end included.
    """

    text: str
    ended: bool
    tokens: int


@runtime_checkable
class Engine(Protocol):
    """Runs one base, and at most one policy on it; a context manager."""

    def generate(self, requests: Sequence[Request]) -> list[list[Answer]]:
        """The answers to each request, `sampling.samples` each; requests of equal sampling share one stream of draws.

        Raises:
            ChoiceError: messages that the base cannot read, or that leave no room for an answer.
            ConfigError: what this engine cannot do.
        """
        ...

    def stream(self, request: Request) -> Iterator[str]:
        """One answer, piece by piece as it is written; whoever stops reading stops the writing."""
        ...

    def log_probs(self, items: Sequence[tuple[Any, Any]], z: Tensor | None = None) -> Tensor:
        """Log-probability in nats of each answer to its messages, Float32[items]; z Float[items latent] or [1 latent].

        Every token of an answer counts, its end too.
        """
        ...

    def close(self) -> None:
        """Leave the base as it was, after what is being answered; nothing can be asked any more."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...


def requests(prompts: Sequence[Any], z: Tensor | None = None, sampling: Sampling | None = None) -> list[Request]:
    """A request a prompt: prompt i for user z[i], Float[users latent], or all for the only one; None = unsteered.

    Raises:
        ConfigError: no prompts, or another number of users.
    """
    if not len(prompts):
        raise ConfigError("nothing to answer; give at least one prompt")
    if z is not None and len(z) not in (1, len(prompts)):
        raise ConfigError(f"{len(prompts)} prompts for {len(z)} users; expected one user, or one a prompt")
    users = [None] * len(prompts) if z is None else z.expand(len(prompts), -1).unbind(0)
    sampling = sampling or Sampling()
    return [Request(prompt, user, sampling) for prompt, user in zip(prompts, users, strict=True)]
