"""Rows in the schema of UltraFeedback: the same in every format, thin ones counted, bad ones named."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from tacit.errors import ChoiceError
from tacit_experiments.datasets.ultrafeedback_reader import RATINGS, RatedResponses, read_ultrafeedback

NAN = float("nan")


def completion(response: str | None, *ratings: str | None) -> dict[str, Any]:
    """With every field the real data has; ratings in the order of RATINGS, "N/A" where not given."""
    given = dict(zip(RATINGS, (*ratings, "N/A", "N/A", "N/A", "N/A"), strict=False))
    return {
        "model": "llama",
        "principle": "helpfulness",
        "response": response,
        "annotations": {
            name: {"Rating": rating, "Rationale": "Because.", "Type": ["1"]} for name, rating in given.items()
        },
        "fine-grained_score": 4.25,
    }


def row(instruction: str | None, *completions: Any) -> dict[str, Any]:
    return {"source": "sharegpt", "instruction": instruction, "models": ["llama"], "completions": list(completions)}


ROWS = [
    row("Héllo 世界?", completion("Yes 🙂", "5", "1", "3", "2"), completion("No", "2", "4", "N/A", "1")),
    row("Nothing said"),
    row("Héllo 世界?", completion("No", "1", "1", "1", "1"), completion("Maybe", "3")),
    row("One\nonly", completion("A"), completion("  ", "5"), completion("A", "4"), completion(None, "3")),
]


def write_jsonl(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def write_parquet(path: Path, rows: list[Any]) -> Path:
    parquet.write_table(pa.Table.from_pylist(rows), path)
    return path


def as_dataset(_: Path, rows: list[Any]) -> Any:
    import datasets

    return datasets.Dataset.from_list(rows)


def as_dataset_dict(_: Path, rows: list[Any]) -> Any:
    import datasets

    return datasets.DatasetDict({"a": datasets.Dataset.from_list(rows[:2]), "b": datasets.Dataset.from_list(rows[2:])})


FORMATS = {
    "jsonl": ("uf.jsonl", write_jsonl),
    "parquet": ("uf.parquet", write_parquet),
    "dataset": ("", as_dataset),
    "dataset-dict": ("", as_dataset_dict),
}


def rated(tmp_path: Path, rows: list[Any], **settings: Any) -> RatedResponses:
    return read_ultrafeedback(write_jsonl(tmp_path / "uf.jsonl", rows), **settings)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_the_same_responses(tmp_path: Path, kind: str) -> None:
    name, write = FORMATS[kind]
    found = read_ultrafeedback(write(tmp_path / name, ROWS))
    assert [found.item(i) for i in range(len(found.responses))] == [
        ("Héllo 世界?", "Yes 🙂"),
        ("Héllo 世界?", "No"),
        ("Héllo 世界?", "Maybe"),
        ("One\nonly", "A"),
    ]
    np.testing.assert_array_equal(
        found.ratings, np.array([[5, 1, 3, 2], [2, 4, NAN, 1], [3, NAN, NAN, NAN], [NAN] * 4], np.float32)
    )
    assert found.prompt.tolist() == [0, 0, 0, 1]
    assert found.counts == {
        "rows": 4,
        "rows without completions": 1,
        "repeated instructions": 1,
        "blank responses": 2,
        "repeated responses": 2,
        "bad rows": 0,
        "unknown ratings": 8,
    }


def test_pairs_are_all_pairs_of_a_prompt_in_order(tmp_path: Path) -> None:
    found = rated(tmp_path, [*ROWS, row("Third", completion("x"), completion("y"))])
    assert found.pairs().tolist() == [[0, 1], [0, 2], [1, 2], [4, 5]]


def test_ratings_are_picked_by_name(tmp_path: Path) -> None:
    found = rated(tmp_path, ROWS)
    assert found.of(("instruction_following", "helpfulness"))[:2].tolist() == [[2, 5], [1, 2]]


@pytest.mark.parametrize("missing", [None, "N/A", "n/a", ""])
def test_an_unknown_rating_is_nan(tmp_path: Path, missing: str | None) -> None:
    assert np.isnan(rated(tmp_path, [row("Q", completion("a", missing, "3"))]).ratings[0]).tolist() == [
        True, False, True, True,
    ]  # fmt: skip


def test_absent_annotations_are_unknown_ratings(tmp_path: Path) -> None:
    found = rated(tmp_path, [row("Q", {"response": "a"}, {"response": "b", "annotations": None}), {"instruction": "R"}])
    assert np.isnan(found.ratings).all()
    assert found.counts["rows without completions"] == 1


def test_numbers_serve_as_ratings(tmp_path: Path) -> None:
    completion_ = {"response": "a", "annotations": {"honesty": {"Rating": 4}, "helpfulness": {"Rating": 2.5}}}
    assert rated(tmp_path, [row("Q", completion_)]).of(("honesty", "helpfulness")).tolist() == [[4.0, 2.5]]


BAD: dict[str, tuple[Any, str]] = {
    "no-instruction": (row(None, completion("a")), "instruction is missing"),
    "blank-instruction": (row(" ", completion("a")), "instruction is blank"),
    "completions-text": ({"instruction": "Q", "completions": "a"}, "completions is 'a', expected a list"),
    "completion-text": (row("Q", "a"), "completion 1 holds 'a', expected an object"),
    "response-number": (row("Q", {"response": 3}), "response of completion 1 is 3, expected text"),
    "response-bytes": (row("Q", {"response": "\ud800"}), "response of completion 1 is not UTF-8 text"),
    "annotations-list": (row("Q", {"response": "a", "annotations": []}), "annotations of completion 1 is []"),
    "rating-flat": (row("Q", {"response": "a", "annotations": {"honesty": "3"}}), "honesty of completion 1 is '3'"),
    "rating-high": (row("Q", completion("b"), completion("a", "6")), "helpfulness Rating of completion 2 is '6'"),
    "rating-word": (
        row("Q", completion("a", "3", "good")),
        "honesty Rating of completion 1 is 'good', expected 1 to 5",
    ),
    "rating-true": (row("Q", completion("a", True)), "helpfulness Rating of completion 1 is True"),  # type: ignore[arg-type]
    "not-an-object": ([1], "a JSON list, expected an object"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_row_is_named_with_its_cause_or_skipped(
    tmp_path: Path, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    bad, cause = BAD[case]
    path = tmp_path / "uf.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [ROWS[0], bad, ROWS[2]]))
    with pytest.raises(ChoiceError) as caught:
        read_ultrafeedback(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: 1 of 3 rows is bad: row 2: ")
    assert cause in message
    assert message.endswith("correct them, or drop them with skip_bad_rows")
    assert "\n" not in message

    with caplog.at_level(logging.WARNING, "tacit_experiments.datasets.ultrafeedback_reader"):
        found = read_ultrafeedback(path, skip_bad_rows=True)
    assert [line for line, _ in found.skipped] == [2]
    assert found.counts["bad rows"] == 1
    assert found.counts["rows"] == 3
    assert set(found.prompts) == {"Héllo 世界?"}
    assert "dropped 1 of 3 rows" in caplog.text


def test_a_source_of_another_schema_names_the_missing_column(tmp_path: Path) -> None:
    with pytest.raises(
        ChoiceError, match=r"no column 'completions'; columns found: 'instruction'; expected the schema"
    ):
        rated(tmp_path, [{"instruction": "Q"}])


def test_a_source_without_a_response_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ChoiceError, match="none of 1 rows has a response"):
        rated(tmp_path, [row("Q")])
