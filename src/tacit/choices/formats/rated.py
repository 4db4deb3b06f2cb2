"""Rated answers: several answers to one prompt with a score each, as one ranking with ties.

Either one row holds them all (distilabel: `generations` with `ratings`), or each row holds one (`response` with
`score`), and the answers of one user to one prompt are gathered over the whole log.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tacit.choices.comparison import Idle
from tacit.choices.conversation import Conversation
from tacit.choices.formats.log_format import LogFormat, Row, formats, numbered_rows, own_rows
from tacit.choices.sources import RawRows
from tacit.errors import ChoiceError

__all__ = ["Distilabel", "RatedResponses", "ranking"]


def ranking(answers: Sequence[Any], scores: Sequence[Any]) -> list[list[Any]]:
    """Answers by falling score, those of one score on one level.

    Raises:
        ChoiceError: a score is no finite number.
        Idle: fewer than two answers have a score.
    """
    scored = [(_score(score), answer) for answer, score in zip(answers, scores, strict=True) if score is not None]
    if len(scored) < 2:
        raise Idle("it has one rated answer, which compares nothing")
    levels: dict[float, list[Any]] = {}
    for score, answer in sorted(scored, key=lambda each: -each[0]):
        levels.setdefault(score, []).append(answer)
    return list(levels.values())


def _score(score: Any) -> float:
    try:
        value = math.nan if isinstance(score, bool) else float(score)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise ChoiceError(f"a score is {score!r}, expected a finite number")
    return value


@formats.register("distilabel")
class Distilabel(LogFormat):
    """`instruction`, `generations` and `ratings`, one row a prompt."""

    about = "distilabel ratings"
    needs = ("instruction", "generations", "ratings")
    reads = ("user_id", "system_prompt", "weight", "timestamp", "split")

    def rows(self, row: Row) -> Iterable[Row]:
        """One ranking with ties."""
        answers, scores = row["generations"], row["ratings"]
        if not isinstance(answers, list) or not isinstance(scores, list) or len(answers) != len(scores):
            raise ChoiceError("generations and ratings are not lists of one length")
        prompt: Any = row["instruction"]
        if row.get("system_prompt"):
            prompt = [{"role": "system", "content": row["system_prompt"]}, {"role": "user", "content": prompt}]
        kept = {name: row.get(name) for name in ("user_id", "weight", "timestamp", "split")}
        yield {**kept, "prompt": prompt, "ranking": ranking(answers, scores)}


@formats.register("rated")
class RatedResponses(LogFormat):
    """One answer a row with a `score` (or `rating`) of one user; what is gathered keeps its first row's number."""

    about = "rated responses"
    needs = ("prompt", "response")
    reads = ("user_id", "score", "rating", "timestamp", "split")

    @classmethod
    def looks_right(cls, row: Row) -> bool:
        """There is a score."""
        return row.get("score") is not None or row.get("rating") is not None

    def convert(self, chunks: Iterable[RawRows]) -> Iterator[RawRows]:
        """All chunks as one, a ranking for each user and prompt, in order of first appearance."""
        groups: dict[tuple[Any, str], list[tuple[int, Row]]] = {}
        bad: list[tuple[int, str]] = []
        last: RawRows | None = None
        for raw in chunks:
            last = raw
            bad += raw.bad
            for line, row in numbered_rows(raw):
                try:
                    prompt = Conversation.parse(row["prompt"] if row["prompt"] is not None else "").key
                    groups.setdefault((row.get("user_id"), prompt), []).append((line, row))
                except ChoiceError as error:
                    bad.append((line, f"prompt {error}"))
        if last is not None:
            yield self._gathered(last, groups, bad)

    def _gathered(
        self, raw: RawRows, groups: dict[tuple[Any, str], list[tuple[int, Row]]], bad: list[tuple[int, str]]
    ) -> RawRows:
        lines, rows, idle = [], [], list[tuple[int, str]]()
        for (user, _), members in groups.items():
            first, head = members[0]
            scores = [row.get("score") if row.get("score") is not None else row.get("rating") for _, row in members]
            try:
                ranked = ranking([row["response"] for _, row in members], scores)
            except ChoiceError as error:
                bad += [(line, str(error)) for line, _ in members]
                continue
            except Idle as error:
                idle += [(line, str(error)) for line, _ in members]
                continue
            times = [row.get("timestamp") for _, row in members if row.get("timestamp") is not None]
            lines.append(first)
            rows.append({
                "user_id": user, "prompt": head["prompt"], "ranking": ranked,
                "timestamp": times[-1] if times else None, "split": head.get("split"),
            })  # fmt: skip
        return own_rows(raw, lines, rows, bad, idle)
