"""Writing answers: sampling, beams, several answers a prompt, and streaming, all by `transformers`' own `generate`."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from tacit.engines.transformers.dialogue import Dialogue, Tokens
from tacit.engines.transformers.logits_processors import Draw, Nucleus
from tacit.engines.transformers.within_base import WithinBase
from tacit.errors import ChoiceError

__all__ = ["Sampling", "draw", "generate", "stream"]


class Sampling(BaseModel):
    """How answers are drawn.

    Attributes:
        max_new_tokens: the longest answer.
        temperature: 0 = always the most likely token.
        top_p: the smallest set of tokens of this probability is drawn from.
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
    within_base: bool = False
    beams: int = Field(default=1, ge=1)
    samples: int = Field(default=1, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**63)

    @property
    def drawn(self) -> bool:
        """Whether chance plays a part."""
        return self.temperature > 0 and self.beams == 1

    @model_validator(mode="after")
    def _fits(self) -> "Sampling":
        if self.within_base and not (self.drawn and self.top_p < 1):
            raise ValueError("within_base limits draws: it needs a temperature above 0, top_p below 1 and no beams")
        return self

    def keywords(self, dialogue: Dialogue, mask: Tensor) -> dict[str, Any]:
        """The same in the words of `model.generate`, but for its own sampling, which touches global random state.

        `mask`, Int64[rows tokens], is 0 where prompts are padded.
        """
        from transformers import LogitsProcessorList, TemperatureLogitsWarper

        draws: list[Any] = []
        if self.drawn:
            if self.temperature != 1:
                draws.append(TemperatureLogitsWarper(self.temperature))
            if self.top_p < 1:
                draws.append(Nucleus(self.top_p))
            if self.within_base:
                warp: Any = LogitsProcessorList(draws)
                draws.append(WithinBase(dialogue.base.model, mask, warp))
            draws.append(Draw(self.seed, dialogue.base.device))
        return {
            "do_sample": False,
            "logits_processor": LogitsProcessorList(draws),
            "num_beams": self.beams,
            "num_return_sequences": 1 if self.drawn else self.samples,
            "max_new_tokens": self.max_new_tokens,
            "eos_token_id": dialogue.base.ends,
            "pad_token_id": dialogue.base.pad,
            "attention_mask": mask,
            "use_cache": True,
        }


def generate(model: Any, dialogue: Dialogue, prompts: Sequence[str], sampling: Sampling) -> list[list[str]]:
    """Answers to each prompt.

    Raises:
        ChoiceError: a prompt that leaves no room for an answer.
    """
    return [[text for text, _ in some] for some in draw(model, dialogue, prompts, sampling)]


def draw(model: Any, dialogue: Dialogue, prompts: Sequence[str], sampling: Sampling) -> list[list[tuple[str, bool]]]:
    """The same, and of each answer whether it came to its end within `max_new_tokens`."""
    if sampling.samples > sampling.beams and not sampling.drawn:
        raise ChoiceError(
            f"{sampling.samples} answers of {sampling.beams} beams, or at temperature 0, would not differ; "
            "raise beams, or the temperature without beams"
        )
    tokens = _asked(dialogue, prompts, sampling)
    each = sampling.samples if sampling.drawn else 1  # rows of one prompt; beams lay out theirs themselves
    ids, mask = tokens.ids.repeat_interleave(each, 0), tokens.mask.repeat_interleave(each, 0)
    with torch.inference_mode():
        rows = model.generate(input_ids=ids, **sampling.keywords(dialogue, mask))
    answers = [_text(dialogue, row) for row in rows[:, ids.shape[1] :].tolist()]
    return [answers[at : at + sampling.samples] for at in range(0, len(answers), sampling.samples)]


def stream(
    steered: Callable[[], AbstractContextManager[Any]], dialogue: Dialogue, prompt: str, sampling: Sampling
) -> Iterator[str]:
    """One answer in pieces; `steered` gives the model within a block, in the thread that writes.

    Whoever stops reading stops the writing, at the next token.
    """
    from transformers import StoppingCriteriaList, TextIteratorStreamer

    tokens = _asked(dialogue, [prompt], sampling)
    streamer = TextIteratorStreamer(dialogue.base.tokenizer, skip_prompt=True, skip_special_tokens=True)
    keywords = sampling.model_copy(update={"samples": 1, "beams": 1}).keywords(dialogue, tokens.mask)
    left, failure = threading.Event(), list[BaseException]()

    def stop(input_ids: Tensor, scores: Tensor) -> Tensor:
        return torch.full((len(input_ids),), left.is_set(), device=input_ids.device)

    def write() -> None:
        try:
            with steered() as model, torch.inference_mode():
                stops: Any = StoppingCriteriaList([stop])
                model.generate(input_ids=tokens.ids, streamer=streamer, stopping_criteria=stops, **keywords)
        except BaseException as error:  # raised again where the pieces are read
            failure.append(error)
            streamer.end()

    def pieces() -> Iterator[str]:
        thread = threading.Thread(target=write, daemon=True)
        thread.start()
        try:
            yield from (piece for piece in streamer if piece)
        finally:
            left.set()
            thread.join()
        if failure:
            raise failure[0]

    return pieces()


def _asked(dialogue: Dialogue, prompts: Sequence[str], sampling: Sampling) -> Tokens:
    rows = [dialogue.prompt(prompt) for prompt in prompts]
    longest, limit = max(map(len, rows)), dialogue.base.context
    if limit is not None and longest + sampling.max_new_tokens > limit:
        raise ChoiceError(
            f"a prompt of {longest} tokens and an answer of up to {sampling.max_new_tokens} exceed the {limit} tokens "
            f"of base '{dialogue.base.name}'; shorten the prompt or lower max_new_tokens"
        )
    return dialogue.batch([(row, 0) for row in rows]).to(dialogue.base.device)


def _text(dialogue: Dialogue, ids: list[int]) -> tuple[str, bool]:
    """An answer, and whether it ended."""
    ends = set(dialogue.base.ends)
    length = next((place for place, token in enumerate(ids) if token in ends), len(ids))
    return dialogue.base.tokenizer.decode(ids[:length], skip_special_tokens=True).strip(), length < len(ids)
