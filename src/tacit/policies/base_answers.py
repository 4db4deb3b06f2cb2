"""Answers that the base writes itself, for a reward to compare: a log rarely holds more than two to a prompt."""

import hashlib
import json
import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from tacit.choices.conversation import Conversation
from tacit.embedders.embedder import Item
from tacit.engines.engine import Sampling, requests
from tacit.engines.transformers.dialogue import Dialogue
from tacit.engines.transformers.engine import TransformersEngine
from tacit.episodes.hashing import hash_unit, mix
from tacit.files import write_json
from tacit.policies.training_config import PolicyTrainingConfig

__all__ = ["more_answers", "write_answers"]

logger = logging.getLogger(__name__)

_PROMPTS = 256  # answered at most: a few thousand answers cost far less to write than to train on
_ROWS_CPU, _ROWS_ACCELERATOR = 64, 256
"""Answers written at once."""
_TOP_P = 0.9  # the tail of a small model's distribution is broken words, and a reward model has never seen any
_SHORTEST, _LONGEST, _LOOKED_AT = 16, 256, 4096
_CLOSERS = r"[\"'*_)\]\u201d\u2019\u300d\u300f]*"
_SENTENCE = re.compile(
    rf".*(?:[^\d\s][.!?\u2026\u061f\u0964]{_CLOSERS}(?=\s|$)|[\u3002\uff01\uff1f]{_CLOSERS})", re.DOTALL
)
"""Up to the end of the last sentence. "1." begins an entry of a list; after an ideographic stop no space follows."""


def more_answers(
    engine: TransformersEngine,
    items: Sequence[Item],
    used: Tensor,
    training: PolicyTrainingConfig,
    *,
    most: int = 10**9,
    file: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Item]:
    """New answers to prompts that fewer than `training.compared` of the `used` items (Bool[items]) are answers to.

    They go to 256 of these prompts, drawn at random, or to as few as `most` answers allow, but to one at least. Their
    longest is what 95 % of the used answers keep within, and 256 tokens if that is less.
    """
    known = Counter(items[item][0] for item in used.nonzero().squeeze(1).tolist())
    dialogue = engine.dialogue
    longest = _usual_length(dialogue, items, used)
    few = [
        prompt
        for prompt, count in known.items()
        if count < training.compared and _fits(dialogue, dialogue.prompt(Conversation.from_key(prompt)), longest)
    ]
    order = hash_unit(torch.arange(len(few)), 410).argsort()
    found = write_answers(
        engine, [few[place] for place in order[: min(_PROMPTS, max(1, most // training.written))].tolist()],
        training.written, longest=longest, seed=training.seed, file=file, progress=progress,
    )  # fmt: skip
    there = set(items)
    found = [item for item in found if item not in there]
    if few:
        logger.info(
            "%d of %d prompts have fewer than %d answers and room for more; the base wrote %d to %d of them",
            len(few), len(known), training.compared, len(found), len({prompt for prompt, _ in found}),
        )  # fmt: skip
    return found


def write_answers(
    engine: TransformersEngine,
    prompts: Sequence[str],
    count: int,
    *,
    longest: int,
    seed: int = 0,
    file: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Item]:
    """(prompt key, answer), all different: up to `count` answers to each prompt by the base, drawn at top_p 0.9.

    An answer that does not come to an end within `longest` tokens is cut after its last whole sentence, or left out
    if there is none. Prompts too long for the base to answer at that length get no answers.

    Args:
        prompts: their keys.
        file: where they are kept for a later run over the same prompts and base.
        progress: called with (done, total) prompts.
    """
    base, dialogue = engine.base, engine.dialogue
    said = {prompt: Conversation.from_key(prompt) for prompt in prompts}
    rows = {prompt: dialogue.prompt(conversation) for prompt, conversation in said.items()}
    fitting = [prompt for prompt, row in rows.items() if _fits(dialogue, row, longest)]
    asked = sorted(fitting, key=lambda prompt: (len(rows[prompt]), prompt))
    known_by = [base.fingerprint, str(base.model.dtype), [(p, rows[p]) for p in asked], count, longest, seed]
    key = hashlib.blake2b(json.dumps(known_by).encode(), digest_size=16).hexdigest()
    if file is not None and (known := _read(file, key)) is not None:
        return known
    at_once = max(1, (_ROWS_CPU if base.device.type == "cpu" else _ROWS_ACCELERATOR) // count)
    found: dict[Item, None] = {}
    for start in range(0, len(asked), at_once):
        some = asked[start : start + at_once]
        sampling = Sampling(max_new_tokens=longest, top_p=_TOP_P, samples=count, seed=mix(seed, 408, start))
        drawn = engine.generate(requests([said[prompt] for prompt in some], None, sampling))
        for prompt, answers in zip(some, drawn, strict=True):
            for text in (one.text if one.ended else _whole_sentences(one.text) for one in answers):
                if text and len(dialogue.response(said[prompt], text)) <= longest + 1:  # read back, it may be longer
                    found[prompt, text] = None
        if progress:
            progress(start + len(some), len(asked))
    if file is not None:
        write_json(file, {key: list(found)})
    return list(found)


def _fits(dialogue: Dialogue, prompt: Sequence[int], longest: int) -> bool:
    """Whether an answer of `longest` tokens and its end find room behind a prompt."""
    return dialogue.max_length is None or len(prompt) + longest + 1 <= dialogue.max_length


def _usual_length(dialogue: Dialogue, items: Sequence[Item], used: Tensor) -> int:
    """Tokens that 95 % of the used answers keep within."""
    some = used.nonzero().squeeze(1)
    some = some[hash_unit(some, 411).argsort()[:_LOOKED_AT]].tolist()
    lengths = sorted(
        len(dialogue.response(Conversation.from_key(prompt), answer)) for prompt, answer in map(items.__getitem__, some)
    )
    return min(max(lengths[math.ceil(0.95 * len(lengths)) - 1] if lengths else 0, _SHORTEST), _LONGEST)


def _whole_sentences(text: str) -> str:
    """A text up to the end of its last sentence."""
    found = _SENTENCE.match(text)
    return found.group() if found else ""


def _read(file: Path, key: str) -> list[Item] | None:
    try:
        known = json.loads(file.read_text(encoding="utf-8")).get(key)
    except (OSError, ValueError, AttributeError):  # absent, or damaged
        return None
    return None if known is None else [(prompt, answer) for prompt, answer in known]
