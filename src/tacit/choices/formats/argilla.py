"""Argilla exports: records with `fields` and the `responses` of annotators to a ranking or preference question."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tacit.choices.comparison import Idle
from tacit.choices.formats.log_format import LogFormat, Row, formats
from tacit.choices.formats.rated import ranking
from tacit.errors import ChoiceError

__all__ = ["ArgillaRecords"]

_PROMPTS = ("prompt", "instruction", "question", "input", "query")


@formats.register("argilla")
class ArgillaRecords(LogFormat):
    """Every annotator's response is a choice of that annotator.

    A response names fields with their ranks, `[{"value": "response-1", "rank": 1}, ...]`, or the one field that won.
    Answers are all text fields but the prompt.
    """

    about = "Argilla records"
    needs = ("fields", "responses")

    @classmethod
    def looks_right(cls, row: Row) -> bool:
        """Fields by name."""
        return isinstance(row.get("fields"), Mapping)

    def rows(self, row: Row) -> Iterable[Row]:
        """One choice for each annotator's response."""
        fields = row["fields"]
        asked = next((name for name in _PROMPTS if fields.get(name)), None)
        if asked is None:
            raise ChoiceError(f"fields hold no prompt; expected one of {', '.join(_PROMPTS)}")
        answers = {name: text for name, text in fields.items() if name != asked and isinstance(text, str)}
        made = [
            {"user_id": user, "prompt": fields[asked], "ranking": _ranked(value, answers)}
            for user, value in _responses(row["responses"])
        ]
        if not made:
            raise Idle("nobody has responded to it")
        return made


def _responses(responses: Any) -> Iterator[tuple[Any, Any]]:
    """(user, value) of each submitted response: {question: [...]} of Argilla 2, [{values: {question: ...}}] of 1."""
    if isinstance(responses, Mapping):
        for given in responses.values():
            for each in given or ():
                if each.get("status", "submitted") == "submitted":
                    yield each.get("user_id"), each.get("value")
        return
    for each in responses or ():
        if each.get("status", "submitted") == "submitted":
            for value in (each.get("values") or {}).values():
                yield each.get("user_id"), value.get("value") if isinstance(value, Mapping) else value


def _ranked(value: Any, answers: Mapping[str, str]) -> list[list[str]]:
    if isinstance(value, str) and value in answers:
        return [[answers[value]], [text for name, text in answers.items() if name != value]]
    if isinstance(value, list) and all(isinstance(each, Mapping) and each.get("value") in answers for each in value):
        named = [answers[each["value"]] for each in value]
        ranks = [each.get("rank") for each in value]
        return ranking(named, [None if rank is None else -float(rank) for rank in ranks])
    raise ChoiceError(f"a response names no fields of the record: {str(value)[:60]!r}")
