"""LLaMA-Factory's preference data: ShareGPT conversations, or Alpaca's instruction and input; arrays or lines."""

from collections.abc import Iterable
from typing import Any

from tacit.choices.conversation import Conversation
from tacit.choices.formats.log_format import LogFormat, Row, formats
from tacit.errors import ChoiceError

__all__ = ["AlpacaPreferences", "ShareGPTPreferences"]

_OWN = ("user_id", "weight", "timestamp", "split", "tie", "system")


@formats.register("sharegpt")
class ShareGPTPreferences(LogFormat):
    """`conversations` of from / value messages, with `chosen` and `rejected` answers to their end."""

    about = "LLaMA-Factory / ShareGPT preferences"
    needs = ("conversations", "chosen", "rejected")
    reads = _OWN

    def rows(self, row: Row) -> Iterable[Row]:
        """One pair."""
        yield _pair(row, _messages(row["conversations"]))


@formats.register("alpaca")
class AlpacaPreferences(LogFormat):
    """`instruction` and optional `input`, `system` and `history` of (question, answer) pairs."""

    about = "LLaMA-Factory / Alpaca preferences"
    needs = ("instruction", "chosen", "rejected")
    reads = (*_OWN, "input", "history")

    def rows(self, row: Row) -> Iterable[Row]:
        """One pair."""
        history = row.get("history") or []
        if not all(isinstance(turn, list) and len(turn) == 2 for turn in history):
            raise ChoiceError("history is no list of [question, answer] pairs")
        said = [
            {"role": role, "content": text}
            for turn in history
            for role, text in zip(("user", "assistant"), turn, strict=True)
        ]
        asked = "\n".join(part for part in (row["instruction"], row.get("input")) if part)
        yield _pair(row, _messages([*said, {"role": "user", "content": asked}]))


def _pair(row: Row, prompt: list[dict[str, str]]) -> dict[str, Any]:
    if row.get("system"):
        prompt = [{"role": "system", "content": row["system"]}, *prompt]
    kept = {name: row.get(name) for name in ("user_id", "weight", "timestamp", "split", "tie")}
    return {**kept, "prompt": prompt, "chosen": row["chosen"], "rejected": row["rejected"]}


def _messages(said: Any) -> list[dict[str, str]]:
    try:
        return Conversation.parse(said).to_openai()
    except ChoiceError as error:
        raise ChoiceError(f"conversations {error}") from None
