"""Writing answers by `transformers`' own `generate`: draws, beams, several answers a prompt, and streaming."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from tacit.engines.engine import Answer, Sampling
from tacit.engines.transformers.dialogue import Dialogue, Tokens
from tacit.engines.transformers.logits_processors import Draw, Nucleus, StopTexts, WithinBase
from tacit.errors import ChoiceError, ConfigError

__all__ = ["asked", "draw", "keywords", "no_room", "stream"]


def no_room(dialogue: Dialogue, length: int, sampling: Sampling) -> str | None:
    """Why a prompt of `length` tokens leaves no room for an answer; None where it does."""
    limit = dialogue.base.context
    if limit is None or length + sampling.max_new_tokens <= limit:
        return None
    return (
        f"a prompt of {length} tokens and an answer of up to {sampling.max_new_tokens} exceed the {limit} tokens "
        f"of base '{dialogue.base.name}'; shorten the prompt or lower max_new_tokens"
    )


def asked(dialogue: Dialogue, prompts: Sequence[list[int]], sampling: Sampling) -> Tokens:
    """Prompts, each in tokens, as rows to answer.

    Raises:
        ChoiceError: a prompt that leaves no room for an answer.
    """
    if cause := no_room(dialogue, max(map(len, prompts)), sampling):
        raise ChoiceError(cause)
    return dialogue.batch([(row, 0) for row in prompts]).to(dialogue.base.device)


def draw(model: Any, dialogue: Dialogue, tokens: Tokens, sampling: Sampling) -> list[list[Answer]]:
    """`sampling.samples` answers to each row, as the model writes at this moment."""
    each = sampling.samples if sampling.drawn else 1  # rows of one prompt; beams lay out theirs themselves
    ids, mask = tokens.ids.repeat_interleave(each, 0), tokens.mask.repeat_interleave(each, 0)
    with torch.inference_mode():
        rows = model.generate(input_ids=ids, **keywords(dialogue, mask, sampling))
    answers = [_answer(dialogue, row, sampling) for row in rows[:, ids.shape[1] :].tolist()]
    return [answers[at : at + sampling.samples] for at in range(0, len(answers), sampling.samples)]


def keywords(dialogue: Dialogue, mask: Tensor, sampling: Sampling) -> dict[str, Any]:
    """Settings in the words of `model.generate`, but for its own sampling, which touches global random state.

    `mask`, Int64[rows tokens], is 0 where prompts are padded.
    """
    from transformers import LogitsProcessorList, StoppingCriteriaList, TemperatureLogitsWarper

    base, draws = dialogue.base, list[Any]()
    if sampling.drawn:
        if sampling.temperature != 1:
            draws.append(TemperatureLogitsWarper(sampling.temperature))
        if sampling.top_p < 1:
            draws.append(Nucleus(sampling.top_p))
        if sampling.within_base:
            warp: Any = LogitsProcessorList(draws)
            draws.append(WithinBase(base.model, mask, warp))
        draws.append(Draw(sampling.seed, base.device))
    stops: list[Any] = [StopTexts(base.tokenizer, sampling.stop, mask.shape[1])] if sampling.stop else []
    return {
        "do_sample": False,
        "logits_processor": LogitsProcessorList(draws),
        "stopping_criteria": StoppingCriteriaList(stops),
        "num_beams": sampling.beams,
        "num_return_sequences": 1 if sampling.drawn else sampling.samples,
        "max_new_tokens": sampling.max_new_tokens,
        "eos_token_id": dialogue.ends,
        "pad_token_id": base.pad,
        "attention_mask": mask,
        "use_cache": True,
    }


def stream(
    steered: Callable[[], AbstractContextManager[Any]],
    dialogue: Dialogue,
    tokens: Tokens,
    sampling: Sampling,
    closing: threading.Event,
) -> Iterator[str]:
    """One answer in pieces; `steered` gives the model within a block, in the thread that writes.

    Whoever stops reading stops the writing, at the next token, and so does `closing`.

    Raises:
        ConfigError: `closing` came before the answer's end.
    """
    from transformers import TextIteratorStreamer

    streamer = TextIteratorStreamer(dialogue.base.tokenizer, skip_prompt=True, skip_special_tokens=True)
    settings = keywords(dialogue, tokens.mask, sampling.model_copy(update={"samples": 1, "beams": 1}))
    left, failure = threading.Event(), list[BaseException]()

    def stop(input_ids: Tensor, scores: Tensor) -> Tensor:
        if closing.is_set():
            raise ConfigError("the engine was closed before the answer was complete")
        return torch.full((len(input_ids),), left.is_set(), device=input_ids.device)

    settings["stopping_criteria"].append(stop)

    def write() -> None:
        try:
            with steered() as model, torch.inference_mode():
                model.generate(input_ids=tokens.ids, streamer=streamer, **settings)
        except BaseException as error:  # raised again where the pieces are read
            failure.append(error)
            streamer.end()

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    try:
        yield from _before(sampling.stop, (piece for piece in streamer if piece))
    finally:
        left.set()
        thread.join()
    if failure:
        raise failure[0]


def _before(stop: Sequence[str], pieces: Iterator[str]) -> Iterator[str]:
    """What stands before the first of some texts; of what could begin one, nothing is given away too early."""
    held, longest = "", max(map(len, stop), default=1)
    for piece in pieces:
        held += piece
        cut = _first(stop, held)
        given = held[: max(0, len(held) - longest + 1)] if cut is None else held[:cut]
        if given:
            yield given
        if cut is not None:
            return
        held = held[len(given) :]
    if held:
        yield held


def _first(stop: Sequence[str], text: str) -> int | None:
    """Where the first of some texts begins."""
    return min((place for word in stop if (place := text.find(word)) >= 0), default=None)


def _answer(dialogue: Dialogue, ids: list[int], sampling: Sampling) -> Answer:
    """An answer of the tokens behind a prompt."""
    ends = set(dialogue.ends)
    length = next((place for place, token in enumerate(ids) if token in ends), len(ids))
    text = dialogue.base.tokenizer.decode(ids[:length], skip_special_tokens=True)
    cut = _first(sampling.stop, text)
    written = ids[: length + 1]
    while cut is not None and written and written[-1] == dialogue.base.pad:  # the row waited for longer ones
        written = written[:-1]
    return Answer(text[:cut].strip(), length < len(ids) or cut is not None, len(written))
