"""The same rows in every format give the same table."""

import csv
import gzip
import io
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from tacit.choices import Choice, ChoiceTable, read_choices, read_items
from tacit.errors import ChoiceError

Row = dict[str, Any]
ROWS: list[Row] = [
    {"user_id": "ann", "prompt": "Tea?", "chosen": "Yes, please.", "rejected": "No."},
    {"user_id": "bob", "prompt": "Tea?", "chosen": "No.", "rejected": "Yes, please.", "tie": True, "weight": 2},
    {"user_id": "ann", "prompt": 'A "quoted"\nprompt, é', "ranking": ["c", "a", "b"], "timestamp": 1.5},
    {"user_id": "ann", "prompt": "Tea?", "chosen": "Maybe.", "rejected": "No.", "split": "test", "note": [1]},
]
EXPECTED = [
    Choice.pair("ann", "Tea?", "Yes, please.", "No."),
    Choice("bob", "Tea?", ("No.", "Yes, please."), (0, 0), weight=2.0),
    Choice("ann", 'A "quoted"\nprompt, é', ("c", "a", "b"), (0, 1, 2), timestamp=1.5),
    Choice.pair("ann", "Tea?", "Maybe.", "No."),
]


def as_jsonl(rows: list[Row]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def as_csv(rows: list[Row]) -> bytes:
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    writer.writerows({k: json.dumps(v) if isinstance(v, list | bool) else v for k, v in row.items()} for row in rows)
    return text.getvalue().encode()


def as_parquet(rows: list[Row]) -> bytes:
    names = list(dict.fromkeys(name for row in rows for name in row))
    sink = io.BytesIO()
    parquet.write_table(pa.table({name: [row.get(name) for row in rows] for name in names}), sink)
    return sink.getvalue()


FORMATS: dict[str, Callable[[list[Row]], bytes]] = {
    "a.jsonl": as_jsonl,
    "a.json": as_jsonl,
    "a.jsonl.gz": lambda rows: gzip.compress(as_jsonl(rows)),
    "a.csv": as_csv,
    "A.CSV.gz": lambda rows: gzip.compress(as_csv(rows)),
    "a.parquet": as_parquet,
}


@pytest.fixture(params=FORMATS)
def write(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[list[Row]], Path]:
    """Writes rows in one of the formats."""

    def write(rows: list[Row]) -> Path:
        path = tmp_path / request.param
        path.write_bytes(FORMATS[request.param](rows))
        return path

    return write


def jsonl(tmp_path: Path, rows: list[Row]) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(as_jsonl(rows))
    return path


def pair(user: Any = "u", **more: Any) -> Row:
    return {"user_id": user, "prompt": "p", "chosen": "a", "rejected": "b", **more}


def test_every_format_gives_the_same_choices(write: Callable[[list[Row]], Path]) -> None:
    path = write(ROWS)
    table = read_choices(path)
    assert list(table) == EXPECTED
    assert table.source == str(path)
    first = 2 if ".csv" in path.name.lower() else 1
    assert table.line.tolist() == [first, first + 1, first + 2, first + 3]
    assert table.split is not None
    assert table.split.tolist() == [-1, -1, -1, 0]
    part = table.of_split("test")
    assert (list(part), part.users.to_pylist()) == ([EXPECTED[3]], ["ann"])
    assert table.describe()["splits"] == {"test": 1}
    with pytest.raises(ChoiceError, match="has no split 'dev'; found 'test'"):
        table.of_split("dev")


def test_vectors_travel_with_their_items(write: Callable[[list[Row]], Path]) -> None:
    rows = [
        pair("u", chosen_vector=[1.0, 0.5], rejected_vector=[0, 2]),
        pair("v", chosen="b", rejected="c", chosen_vector=[0, 2], rejected_vector=[3, 3.25]),
    ]
    table = read_choices(write(rows))
    assert table.item_vectors is not None
    assert table.item_vectors.dtype == np.float32
    by_text = {text: table.item_vectors[i].tolist() for i, (_, text) in enumerate(table.item_texts())}
    assert by_text == {"a": [1.0, 0.5], "b": [0.0, 2.0], "c": [3.0, 3.25]}


def test_vectors_survive_many_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tacit.choices.sources._CHUNK", 7)
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(40, 3)).astype(np.float32)
    pairs = [rng.choice(40, 2, replace=False) for _ in range(100)]
    lists = vectors.tolist()
    rows = [
        pair(f"u{a}", chosen=f"t{a}", rejected=f"t{b}", chosen_vector=lists[a], rejected_vector=lists[b])
        for a, b in pairs
    ]
    table = read_choices(jsonl(tmp_path, rows))
    assert table.item_vectors is not None
    numbers = [int(text[1:]) for _, text in table.item_texts()]
    np.testing.assert_array_equal(table.item_vectors, vectors[numbers])
    assert [(c.responses) for c in table] == [(f"t{a}", f"t{b}") for a, b in pairs]
    assert table.line.tolist() == list(range(1, 101))


def test_rankings_of_differing_length_in_differing_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tacit.choices.sources._CHUNK", 1)
    table = read_choices(jsonl(tmp_path, ROWS))
    assert list(table) == EXPECTED
    assert table.rank.tolist() == [[0, 1, -1], [0, 0, -1], [0, 1, 2], [0, 1, -1]]


def test_integer_users_keep_their_digits(write: Callable[[list[Row]], Path]) -> None:
    assert read_choices(write([pair(7), pair(-12), pair(7)])).users.to_pylist() == ["7", "-12"]


def test_integer_and_text_users_may_mix(tmp_path: Path) -> None:
    assert read_choices(jsonl(tmp_path, [pair(7), pair("x"), pair("7")])).users.to_pylist() == ["7", "x"]


def test_conversations_in_parquet_and_jsonl(tmp_path: Path) -> None:
    def said(*contents: str) -> list[Row]:
        return [{"role": role, "content": text} for role, text in zip(("user", "assistant"), contents, strict=False)]

    rows = [{"user_id": 1, "chosen": said("Tea?", "Yes."), "rejected": said("Tea?", "No.")}]
    for name, form in (("a.parquet", as_parquet), ("a.jsonl", as_jsonl)):
        (tmp_path / name).write_bytes(form(rows))
        assert list(read_choices(tmp_path / name)) == [Choice.pair("1", "Tea?", "Yes.", "No.")]


def test_blank_lines_and_a_byte_order_mark_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + as_jsonl(ROWS[:1]) + b"\n  \r\n" + as_jsonl(ROWS[3:]))
    table = read_choices(path)
    assert (list(table), table.line.tolist()) == ([EXPECTED[0], EXPECTED[3]], [1, 4])
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbf" + as_csv(ROWS[:1]) + b"\r\n")
    assert list(read_choices(path)) == EXPECTED[:1]


def test_one_user_of_many(tmp_path: Path) -> None:
    path = jsonl(tmp_path, ROWS)
    table = read_choices(path, user="bob")
    assert (list(table), table.n_users) == ([EXPECTED[1]], 1)
    with pytest.raises(ChoiceError, match="no choice of user 'eve'"):
        read_choices(path, user="eve")


def test_a_named_user_owns_rows_without_user_id(tmp_path: Path) -> None:
    path = jsonl(tmp_path, [{"prompt": "p", "chosen": "a", "rejected": "b"}])
    assert list(read_choices(path, user="eve")) == [Choice.pair("eve", "p", "a", "b")]


def test_skipping_drops_counts_and_lists(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(as_jsonl([pair(), pair(chosen="b"), pair(None)]) + b"{\n" + as_jsonl([pair("v")]))
    with caplog.at_level(logging.WARNING, logger="tacit"):
        table = read_choices(path, skip_bad_rows=True)
    assert list(table) == [Choice.pair("u", "p", "a", "b"), Choice.pair("v", "p", "a", "b")]
    assert table.users.to_pylist() == ["u", "v"]
    assert [row for row, _ in table.skipped] == [2, 3, 4]
    assert "same text" in table.skipped[0][1]
    assert table.describe()["skipped"] == 3
    assert "dropped 2 of 5 rows: row 3: " in caplog.text


def test_datasets_and_their_splits() -> None:
    datasets = pytest.importorskip("datasets")
    dataset = datasets.Dataset.from_list([pair("u"), pair("v"), pair("w")])
    assert list(read_choices(dataset)) == [Choice.pair(user, "p", "a", "b") for user in "uvw"]
    assert read_choices(dataset.select([2, 0])).users.to_pylist() == ["w", "u"]
    table = read_choices(datasets.DatasetDict({"train": dataset, "test": dataset.select([1])}))
    assert table.line.tolist() == [1, 2, 3, 4]
    assert list(table.of_split("test")) == [Choice.pair("v", "p", "a", "b")]
    with pytest.raises(ChoiceError, match="dataset has no column 'user_id', 'prompt'"):
        read_choices(datasets.Dataset.from_dict({"text": ["a"]}))
    with pytest.raises(ChoiceError, match="dataset: 1 of 3 rows is bad: row 2: chosen is blank"):
        read_choices(datasets.Dataset.from_list([pair(), pair(chosen=""), pair()]))


def test_hub_names(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    asked = []

    def load_dataset(name: str, split: str | None) -> Any:
        asked.append((name, split))
        return datasets.Dataset.from_list([pair()])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert read_choices("hf://some/data:train").source == "hf://some/data:train"
    read_choices("hf://some/data")
    assert asked == [("some/data", "train"), ("some/data", None)]
    with pytest.raises(ChoiceError, match="expected hf://owner/name"):
        read_choices("hf://data")

    def unreachable(name: str, split: str | None) -> Any:
        raise ConnectionError("cannot reach\nTraceback ...")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(ChoiceError, match="cannot be loaded: cannot reach; check") as caught:
        read_choices("hf://some/data")
    assert "\n" not in str(caught.value)
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(ChoiceError, match="needs the datasets package: pip install datasets"):
        read_choices("hf://some/data")


def test_read_items(write: Callable[[list[Row]], Path]) -> None:
    path = write([{"prompt": "p", "response": "b", "x": 1}, {"prompt": "p", "response": "a", "x": 2}])
    assert read_items(path) == [("p", "b"), ("p", "a")]
    with pytest.raises(ChoiceError, match=r"1 of 2 rows is bad: row \d: response is (blank|missing)"):
        read_items(write([{"prompt": "p", "response": "b"}, {"prompt": "p", "response": ""}]))
    with pytest.raises(ChoiceError, match="no column 'response'"):
        read_items(write([{"prompt": "p"}]))


def test_tables_of_readers_and_of_choices_agree(tmp_path: Path) -> None:
    rows = [pair(f"u{i % 5}", chosen=f"a{i % 11}", weight=1 + i) for i in range(50)]
    read = read_choices(jsonl(tmp_path, rows))
    made = ChoiceTable.from_choices(read)
    assert list(made) == list(read)
    assert made.describe() == read.describe()
