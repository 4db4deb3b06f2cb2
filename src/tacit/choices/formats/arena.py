"""Arena votes: two models answer, a person says which is better (Chiang et al., 2024, arXiv 2403.04132)."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from tacit.choices.conversation import Conversation, Message, parse_answer
from tacit.choices.formats.log_format import LogFormat, Row, formats
from tacit.errors import ChoiceError

__all__ = ["ArenaAnswers", "ArenaVotes"]

_WINNERS = {"modela": "a", "a": "a", "modelb": "b", "b": "b", "tie": "tie", "tiebothbad": "tie", "bothbad": "tie"}
_VOTERS = ("user_id", "judge", "judge_hash")


@formats.register("arena")
class ArenaVotes(LogFormat):
    """The voter (`user_id`, or `judge`) is the user. Both kinds of tie are ties.

    The two conversations go their own ways once the answers differ, so the first answers that differ are compared.
    """

    about = "arena votes"
    needs = ("winner", "conversation_a", "conversation_b")
    reads = ("user_id", "judge", "judge_hash", "tstamp", "timestamp", "weight", "split")

    def rows(self, row: Row) -> Iterable[Row]:
        """One pair or tie."""
        winner = _WINNERS.get(re.sub("[^a-z]", "", str(row["winner"]).lower()))
        if winner is None:
            raise ChoiceError(f"winner is {row['winner']!r}, expected model_a, model_b, tie or tie (bothbad)")
        prompt, a, b = _first_difference(_messages(row, "conversation_a"), _messages(row, "conversation_b"))
        chosen, rejected = (b, a) if winner == "b" else (a, b)
        yield {
            "user_id": next((row[name] for name in _VOTERS if row.get(name) is not None), None),
            "prompt": prompt, "chosen": chosen, "rejected": rejected, "tie": winner == "tie",
            "timestamp": row.get("tstamp") if row.get("timestamp") is None else row["timestamp"],
            "weight": row.get("weight"), "split": row.get("split"),
        }  # fmt: skip


@formats.register("arena-answers")
class ArenaAnswers(ArenaVotes):
    """Votes with one `prompt` and two answers, `response_a` and `response_b`, in place of two conversations."""

    about = "arena votes on answers"
    needs = ("winner", "prompt", "response_a", "response_b")

    def rows(self, row: Row) -> Iterable[Row]:
        """One pair or tie."""
        yield from super().rows({**row, **{f"conversation_{side}": _asked(row, side) for side in "ab"}})


def _asked(row: Row, side: str) -> list[dict[str, str]]:
    name = "prompt"
    try:
        asked = Conversation.parse(row[name]).to_openai()
        name = f"response_{side}"
        return [*asked, {"role": "assistant", "content": parse_answer(row[name])}]
    except ChoiceError as error:
        raise ChoiceError(f"{name} {error}") from None


def _messages(row: Row, name: str) -> tuple[Message, ...]:
    try:
        return Conversation.parse(row[name]).messages
    except ChoiceError as error:
        raise ChoiceError(f"{name} {error}") from None


def _first_difference(a: Sequence[Message], b: Sequence[Message]) -> tuple[Any, str, str]:
    """The messages before the first answers that differ (or the last ones), and those two."""
    answers = [i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x.role == y.role == "assistant"]
    place = next((i for i in answers if a[i] != b[i]), answers[-1] if answers else 0)
    if not place or a[:place] != b[:place]:
        raise ChoiceError("the two conversations begin with different messages, or without an answer")
    return Conversation(tuple(a[:place])), a[place].text, b[place].text
