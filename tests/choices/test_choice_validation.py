"""Every kind of bad input ends in one line that names the file, the row, the cause and the mend."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from tacit.choices import read_choices
from tacit.errors import ChoiceError

GOOD = {"user_id": "u", "prompt": "p", "chosen": "a", "rejected": "b"}


def row(**changes: Any) -> bytes:
    """A good row with changes; `...` removes a key."""
    return json.dumps({k: v for k, v in {**GOOD, **changes}.items() if v is not ...}).encode() + b"\n"


def refusal(path: Path, content: bytes | None = None, **options: Any) -> str:
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ChoiceError) as caught:
        read_choices(path, **options)
    line = str(caught.value)
    assert "\n" not in line
    assert path.name in line
    assert not any(word in line for word in ("Arrow", "Traceback", "pyarrow", "codec"))
    assert caught.value.__cause__ is None
    return line


ROWS = {
    "chosen is blank": row(chosen=" \u3000\t"),
    "prompt is blank": row(prompt=""),
    "user_id is blank": row(user_id=""),
    "prompt is missing": row(prompt=...),
    "user_id is missing": row(user_id=None),
    "rejected is missing": row(rejected=...),
    "chosen is 3, expected text": row(chosen=3),
    "chosen is missing": row(chosen=float("nan")),
    "user_id is NaN": row(user_id=float("nan")),
    "user_id is 1.5, expected text or a whole number": row(user_id=1.5),
    "user_id is True, expected text or a whole number": row(user_id=True),
    "user_id is ['u'], expected text or a whole number": row(user_id=["u"]),
    "prompt has a message without a 'role'": row(prompt={"text": "p"}),
    "chosen is not UTF-8 text": row(chosen="caf?").replace(b"?", b"\xe9"),
    "rejected is not UTF-8 text": row(rejected="\ud800"),
    "a text is not UTF-8 text": row(rejected=["\ud800", "c"]),
    "one of chosen and rejected is a list of messages": row(chosen=[{"role": "assistant", "content": "a"}]),
    "not JSON (Expecting ',' delimiter at column 17)": b'{"user_id": "u" "prompt"\n',
    "not JSON (a number or a nesting beyond all bounds)": b"[" * 100_000 + b"\n",
    "a JSON list, expected an object": b"[1]\n",
    "a JSON text, expected an object": b'"x"\n',
    "weight is 0, expected a finite number > 0": row(weight=0),
    "weight is -1.5, expected a finite number > 0": row(weight=-1.5),
    "weight is nan, expected a finite number > 0": row(weight=float("nan")),
    "weight is inf, expected a finite number > 0": row(weight=float("inf")),
    "weight is 1e-60, expected a finite number > 0": row(weight=1e-60),
    "weight is 'x', expected a finite number > 0": row(weight="x"),
    "weight is True, expected a finite number > 0": row(weight=True),
    "weight is 1000000000000000000000000000000000000..., expected a finite number": row(weight=10**400),
    "timestamp is inf, expected a finite number": row(timestamp=float("inf")),
    "timestamp is 'soon', expected a finite number": row(timestamp="soon"),
    "timestamp is True, expected a finite number": row(timestamp=True),
    "tie is 'maybe', expected true or false": row(tie="maybe"),
    "tie is 1, expected true or false": row(tie=1),
    "split is 0.5, expected text or a whole number": row(split=0.5),
    "ranking has 1 texts, expected 2 to 127": row(chosen=..., rejected=..., ranking=["a"]),
    "ranking has 128 texts, expected 2 to 127": row(chosen=..., rejected=..., ranking=[str(i) for i in range(128)]),
    "ranking has a text twice": row(chosen=..., rejected=..., ranking=["a", "b", "a"]),
    "an answer of ranking (level 2) is blank": row(chosen=..., rejected=..., ranking=["a", " "]),
    "an answer of ranking (level 2) is 1, expected text": row(chosen=..., rejected=..., ranking=["a", 1]),
    "ranking is 'a > b', expected a list of texts, best first": row(chosen=..., rejected=..., ranking="a > b"),
    "both a ranking and chosen or rejected; expected one of the two": row(ranking=["a", "b"]),
    "tie with a ranking": row(chosen=..., rejected=..., ranking=["a", "b"], tie=True),
}


@pytest.mark.parametrize("cause", ROWS)
def test_a_bad_row_is_named_with_its_cause(cause: str, tmp_path: Path) -> None:
    line = refusal(tmp_path / "a.jsonl", row() + ROWS[cause] + row(user_id="v"))
    assert f"1 of 3 rows is bad: row 2: {cause}" in line
    assert line.endswith("drop them with skip_bad_rows=True")
    kept = read_choices(tmp_path / "a.jsonl", skip_bad_rows=True)
    assert kept.line.tolist() == [1, 3]
    assert [(number, cause in why) for number, why in kept.skipped] == [(2, True)]


VECTORS = {"chosen_vector": [1.0, 2.0], "rejected_vector": [3.0, 4.0]}
VECTOR_ROWS = {
    "chosen_vector has 3 numbers where the first has 2": row(**VECTORS | {"chosen_vector": [1, 2, 3]}),
    "rejected_vector is missing or empty": row(**VECTORS | {"rejected_vector": []}),
    "chosen_vector is missing or empty": row(rejected_vector=[3.0, 4.0]),
    "chosen_vector holds NaN, infinity or null": row(**VECTORS | {"chosen_vector": [1, float("nan")]}),
    "rejected_vector holds NaN, infinity or null": row(**VECTORS | {"rejected_vector": [None, 1]}),
    "chosen_vector is [1.0, 'x'], expected a list of finite numbers": row(**VECTORS | {"chosen_vector": [1.0, "x"]}),
    "rejected_vector is 'no', expected a list of finite numbers": row(**VECTORS | {"rejected_vector": "no"}),
    "its vector differs from the one an earlier row gives": row(**VECTORS | {"chosen_vector": [1.0, 2.1]}),
    "a ranking in data that carries vectors": row(chosen=..., rejected=..., ranking=["a", "b"]),
}


@pytest.mark.parametrize("cause", VECTOR_ROWS)
def test_a_bad_vector_is_named_with_its_cause(cause: str, tmp_path: Path) -> None:
    line = refusal(tmp_path / "a.jsonl", row(**VECTORS) + VECTOR_ROWS[cause] + row(**VECTORS))
    assert f"1 of 3 rows is bad: row 2: {cause}" in line
    kept = read_choices(tmp_path / "a.jsonl", skip_bad_rows=True)
    assert kept.line.tolist() == [1, 3]
    assert kept.item_vectors is not None
    assert kept.item_vectors[kept.items[1]].tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_rounding_is_no_contradiction(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(row(**VECTORS) + row(**VECTORS | {"chosen_vector": [1.000001, 2.0]}))
    assert len(read_choices(path)) == 2


def test_vectors_from_the_middle_on_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tacit.choices.sources._CHUNK", 1)
    assert "some from row 2 on" in refusal(tmp_path / "a.jsonl", row() + row(**VECTORS))
    line = refusal(tmp_path / "a.jsonl", row(**VECTORS) + row())
    assert "row 2: chosen_vector is missing or empty" in line


def test_a_first_chunk_without_any_good_vector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tacit.choices.sources._CHUNK", 1)
    path = tmp_path / "a.jsonl"
    path.write_bytes(row(chosen_vector=None, rejected_vector="x") + row(**VECTORS))
    table = read_choices(path, skip_bad_rows=True)
    assert table.item_vectors is not None
    assert table.item_vectors.tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_ten_rows_are_named_and_all_are_counted(tmp_path: Path) -> None:
    line = refusal(tmp_path / "a.jsonl", row() + row(chosen="") * 12)
    assert "12 of 13 rows are bad: row 2: " in line
    assert "row 11: " in line
    assert "row 12: " not in line
    assert "; and 2 more; correct them" in line


def test_no_good_row_stops_even_where_bad_ones_may_be_dropped(tmp_path: Path) -> None:
    line = refusal(tmp_path / "a.jsonl", row(chosen="") * 2, skip_bad_rows=True)
    assert "none of 2 rows can be used: row 1: chosen is blank" in line
    same = refusal(tmp_path / "a.jsonl", row(chosen="b") * 2, skip_bad_rows=True)
    assert "none of 2 rows can be used: row 1: its answers are the same text" in same
    assert "none of 1 rows can be used: row 1: not JSON" in refusal(tmp_path / "b.jsonl", b"hello\n")


CSV = b"user_id,prompt,chosen,rejected,tie\n"
FILES = {
    ("a.jsonl", b""): "is empty",
    ("a.jsonl", b"\n \n"): "holds no rows",
    ("a.csv", CSV): "holds no rows",
    ("a.csv", b"\xff\xfea\x00"): "is UTF-16 text; save it as UTF-8",
    ("a.json", b"[\n" + row()): "is not valid JSON: Expecting ',' delimiter at line 3",
    ("a.json", b"[" * 100_000): "is not valid JSON",
    ("a.jsonl", gzip.compress(row())): "is gzip-compressed; name it .gz",
    ("a.jsonl.gz", row()): "is a damaged or truncated gzip file",
    ("a.jsonl.gz", gzip.compress(row() * 999)[:-12]): "is a damaged or truncated gzip file",
    ("a.jsonl.gz", gzip.compress(row())[:-3]): "is a damaged or truncated gzip file",
    ("a.csv.gz", gzip.compress(CSV)[:12] + b"garbage" * 9): "is a damaged or truncated gzip file",
    ("a.csv", b"PAR1..."): "is a Parquet file; name it .parquet",
    ("a.parquet", b"PAR1..."): "is no readable Parquet file",
    ("a.parquet", row()): "is no readable Parquet file",
    ("a.txt", row()): "has an unknown extension; expected .jsonl",
    ("a.parquet.gz", row()): "has an unknown extension; expected .jsonl",
    ("a.xlsx", b"PK"): "has an unknown extension",
    ("a.jsonl", row(prompt=...)): "has no column 'prompt'; columns found: 'user_id', 'chosen', 'rejected'; expected ",
    ("a.jsonl", row(chosen=...)): "has no column 'chosen'",
    ("a.jsonl", row(chosen_vector=[1])): "has no column 'rejected_vector'",
    ("a.csv", b"user;prompt;chosen;rejected\nu;p;a;b\n"): "did you mean columns={'user_id': 'user'}?",
    ("a.csv", b"user_id,prompt,chosen,rejected,prompt\nu,p,a,b,q\n"): "has two columns named 'prompt'",
    ("a.csv", CSV + b"u,p,a,b,\nu,p,a\n"): "row 3: 3 fields where the header has 5",
    ("a.csv", CSV + b"u,p,a,b,\nu,p,a,b,,6\n"): "row 3: 6 fields where the header has 5",
    ("a.csv", CSV + b'u,p,a,b,\nu,"p"x,a,b,\n'): "row 3: not CSV",
    ("a.csv", CSV + b'u,p,a,b,\nu,"p,a,b,\n'): "row 3: not CSV (unexpected end of data)",
    ("a.csv", CSV + b"u,p,a,b,\nu,p,caf\xe9,b,\n"): "row 3: chosen is not UTF-8 text",
    ("a.csv", CSV + b"u,p,a,b,\nu,p,a,b,perhaps\n"): "row 3: tie is 'perhaps', expected true or false",
    ("a.csv", CSV + b"u,p,a,b,\n,p,a,b,\n"): "row 3: user_id is missing",
}  # fmt: skip


@pytest.mark.parametrize(("file", "cause"), FILES.items(), ids=range(len(FILES)))
def test_a_bad_file_is_named_with_its_cause(file: tuple[str, bytes], cause: str, tmp_path: Path) -> None:
    assert cause in refusal(tmp_path / file[0], file[1])


def test_missing_files_and_folders(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "none.jsonl")
    (tmp_path / "folder.jsonl").mkdir()
    assert "is a folder" in refusal(tmp_path / "folder.jsonl")
    with pytest.raises(ChoiceError, match="cannot read choices from a dict"):
        read_choices(GOOD)


def as_parquet(path: Path, **columns: Any) -> Path:
    good = {name: [value] * 2 for name, value in GOOD.items()}
    parquet.write_table(pa.table(good | columns), path)
    return path


@pytest.mark.parametrize(
    ("columns", "cause"),
    [
        ({"user_id": [1.5, 2.0]}, "row 1: user_id is 1.5, expected text or a whole number"),
        ({"chosen": [b"a", b"c"]}, "row 1: chosen is b'a', expected text"),
        ({"chosen": ["a", None]}, "row 2: chosen is missing"),
        ({"weight": [1.0, float("nan")]}, "row 2: weight is nan"),
        ({"timestamp": pa.array([b"0", b"1"])}, "row 1: timestamp is b'0', expected a finite number"),
        ({"tie": ["yes", "no"]}, "row 1: tie is 'yes'"),
        ({"chosen_vector": ["x", "y"], "rejected_vector": ["x", "y"]}, "row 1: chosen_vector is 'x'"),
        ({"chosen": pa.array([b"a", b"\xff"]).cast(pa.binary()).view(pa.string())}, "row 2: chosen is not UTF-8 text"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_bad_parquet_columns(columns: dict[str, Any], cause: str, tmp_path: Path) -> None:
    assert cause in refusal(as_parquet(tmp_path / "a.parquet", **columns))


def test_parquet_text_may_be_dictionary_encoded_and_vectors_of_fixed_size(tmp_path: Path) -> None:
    fixed = pa.array([[1.0, 2.0], [1.0, 2.0]], pa.list_(pa.float64(), 2))
    columns = {"chosen": pa.array(["a", "c"]).dictionary_encode(), "chosen_vector": fixed, "rejected_vector": fixed}
    table = read_choices(as_parquet(tmp_path / "a.parquet", **columns))
    assert table.responses.to_pylist() == ["a", "c", "b"]
    assert table.item_vectors is not None
    assert table.item_vectors.shape == (3, 2)


def test_a_truncated_parquet_file(tmp_path: Path) -> None:
    path = as_parquet(tmp_path / "a.parquet")
    assert "is no readable Parquet file" in refusal(path, path.read_bytes()[:-30])
