"""What one row compares: a prompt, its answers best first and their ranks, from any form in which people write it.

The prompt and each answer may be a text, a message or a list of messages (`tacit.choices.conversation`). Answers that
are whole conversations share their beginning; that is the prompt, and a prompt given as well must fit it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tacit.choices.builder import MAX_SLOTS
from tacit.choices.conversation import Conversation, Message, parse_answer
from tacit.errors import ChoiceError

__all__ = ["Comparison", "Idle", "compare"]


class Idle(Exception):  # noqa: N818
    """A row is well formed and says nothing of what its user prefers."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One row, read.

    Attributes:
        prompt: the key of its prompt.
        answers: texts, best first.
        ranks: 0 = best, equal = tie, in steps of 0 or 1.
    """

    prompt: str
    answers: tuple[str, ...]
    ranks: tuple[int, ...]


def compare(prompt: Any, chosen: Any, rejected: Any, ranking: Any = None, *, tie: bool = False) -> Comparison:
    """Read one row: chosen and rejected (or several rejected, level with one another), or a ranking.

    Args:
        prompt: None where the answers are conversations that hold it.
        ranking: answers best first; a list of answers inside it is one level, whose members tie.
        tie: chosen and rejected were judged equal.

    Raises:
        ChoiceError: the cause, in words for the user.
        Idle: all answers are the same.
    """
    if ranking is not None:
        if chosen is not None or rejected is not None:
            raise ChoiceError("both a ranking and chosen or rejected; expected one of the two")
        if tie:
            raise ChoiceError("tie with a ranking; ties are for chosen and rejected")
        levels = _levels(ranking)
        names = [f"an answer of ranking (level {level + 1})" for level, answers in enumerate(levels) for _ in answers]
    else:
        for name, cell in (("chosen", chosen), ("rejected", rejected)):
            if cell is None:
                raise ChoiceError(f"{name} is missing")
        others = rejected if _is_several(rejected) else [rejected]
        if tie and len(others) > 1:
            raise ChoiceError("tie with several rejected answers; ties are for chosen and rejected")
        levels = [[chosen, *others]] if tie else [[chosen], list(others)]
        names = ["chosen", *["rejected"] * len(others)]
    given = [answer for level in levels for answer in level]
    key, answers = _divide(prompt, given, names)
    ranks = [number for number, level in enumerate(levels) for _ in level]
    return _distinct(key, answers, ranks, ranked=ranking is not None)


def _distinct(key: str, answers: list[str], ranks: list[int], *, ranked: bool) -> Comparison:
    """Equal answers at one level are one answer; nothing to compare is `Idle`."""
    place: dict[str, int] = {}
    kept: list[tuple[str, int]] = []
    for answer, rank in zip(answers, ranks, strict=True):
        if answer.strip() in place:
            if place[answer.strip()] != rank and ranked and len(set(map(str.strip, answers))) > 1:
                raise ChoiceError("ranking has a text twice")
            continue
        place[answer.strip()] = rank
        kept.append((answer, rank))
    if len(kept) < 2:
        raise Idle("its answers are the same text")
    if len(kept) > MAX_SLOTS:
        raise ChoiceError(f"{len(kept)} answers; expected at most {MAX_SLOTS}")
    order = sorted({rank for _, rank in kept})
    return Comparison(key, tuple(answer for answer, _ in kept), tuple(order.index(rank) for _, rank in kept))


def _levels(ranking: Any) -> list[list[Any]]:
    if not isinstance(ranking, list):
        raise ChoiceError(f"ranking is {_shown(ranking)}, expected a list of texts, best first")
    levels = [list(level) if _is_several(level) else [level] for level in ranking]
    if not all(levels) or not 2 <= sum(map(len, levels)) <= MAX_SLOTS:
        raise ChoiceError(f"ranking has {sum(map(len, levels))} texts, expected 2 to {MAX_SLOTS}")
    return levels


def _is_several(cell: Any) -> bool:
    """Whether a cell holds several answers: a list whose members are texts or conversations, not messages."""
    return isinstance(cell, list) and bool(cell) and all(isinstance(each, str | list) for each in cell)


def _divide(prompt: Any, given: Sequence[Any], names: Sequence[str]) -> tuple[str, list[str]]:
    """The prompt's key and the answers' texts."""
    whole = [_messages(answer, name) for answer, name in zip(given, names, strict=True)]
    asked = None if prompt is None else _named("prompt", Conversation.parse, prompt)
    if not any(whole):
        if asked is None:
            raise ChoiceError("prompt is missing")
        return asked.key, [_named(name, parse_answer, said) for said, name in zip(given, names, strict=True)]
    if not all(whole):
        raise ChoiceError(f"one of {names[0]} and {names[-1]} is a list of messages; expected both")
    turns = [messages for messages in whole if messages is not None]
    shared = _shared(turns)
    if shared:
        held = turns[0][:shared]
        if asked is not None and not _fits(asked.messages, held):
            raise ChoiceError("prompt differs from the messages that chosen and rejected begin with")
        asked = Conversation(held)
    elif asked is None:
        raise ChoiceError("prompt is missing, and chosen and rejected begin with different messages")
    left = [Conversation(messages[shared:]) for messages in turns]
    return asked.key, [_named(name, parse_answer, said) for said, name in zip(left, names, strict=True)]


def _messages(answer: Any, name: str) -> tuple[Message, ...] | None:
    """An answer's messages, None where it is plain text."""
    if isinstance(answer, str):
        return None
    return _named(name, Conversation.parse, answer).messages


def _shared(turns: Sequence[tuple[Message, ...]]) -> int:
    """How many messages all begin with, the last of each left out."""
    shared = 0
    while all(len(messages) - 1 > shared for messages in turns) and len({messages[shared] for messages in turns}) == 1:
        shared += 1
    return shared


def _fits(asked: tuple[Message, ...], held: tuple[Message, ...]) -> bool:
    """Whether a prompt that is given as well says what the conversations begin with: all of it, or its last turns."""
    return held[len(held) - len(asked) :] == asked if len(asked) <= len(held) else False


def _named(name: str, parse: Any, said: Any) -> Any:
    try:
        return parse(said)
    except ChoiceError as error:
        raise ChoiceError(f"{name} {error}") from None


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 40 else text[:37] + "..."
