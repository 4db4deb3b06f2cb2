"""Malformed preference data, answers and stores: each refused in one line, before anything is written."""

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from bad_input import Case, Prepare, altered, cases, copied, file, refuses
from cli_world import TINY, Run, small_rows, write_rows
from pyarrow import parquet

TRAIN = f"train-reward data.jsonl --out out --embedder hash {' '.join(TINY)}"
OTHER = "train-reward {} --out out --embedder hash " + " ".join(TINY)


def row(number: int = 3, **changes: Any) -> Prepare:
    """Change cells of one row (counted from 1); None takes the cell away."""
    return rows(lambda i, r: {k: v for k, v in {**r, **changes}.items() if v is not None} if i == number else r)


def rows(change: Any, *, vectors: bool = False) -> Prepare:
    def prepare(work: Path, base: Path) -> None:
        changed = [change(i, r) for i, r in enumerate(small_rows(vectors=vectors), start=1)]
        write_rows(work / "data.jsonl", [r for r in changed if r is not None])

    return prepare


def without(*names: str) -> Prepare:
    return rows(lambda i, r: {k: v for k, v in r.items() if k not in names})


def line(number: int, raw: bytes) -> Prepare:
    def change(content: bytes) -> bytes:
        lines = content.splitlines()
        lines[number - 1] = raw
        return b"\n".join(lines) + b"\n"

    return file("data.jsonl", change)


def ranked(number: int, ranking: Any, **more: Any) -> Prepare:
    return rows(
        lambda i, r: {"user_id": "u1", "prompt": "p", "ranking": ranking, **more} if i == number else r
    )  # fmt: skip


def csv(*changed: str, header: str = "user_id,prompt,chosen,rejected") -> Prepare:
    return file("data.csv", "\n".join([header, *changed]) + "\n")


def parquet_bytes() -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(small_rows()), buffer)
    return buffer.getvalue()


@cases(
    ("missing", OTHER.format("none.jsonl"), ("none.jsonl does not exist", "expected a file")),
    ("folder", OTHER.format("here"), ("here is a folder", "expected a file"), lambda work,
     base: (work / "here").mkdir()),
    ("empty", TRAIN, ("data.jsonl is empty", "expected one row per choice"), file("data.jsonl", "")),
    ("only blank lines", TRAIN, ("holds no rows", "expected at least one"), file("data.jsonl", "\n \n")),
    ("unknown extension", OTHER.format("data.txt"), ("unknown extension", "expected .jsonl"), file("data.txt", "x")),
    ("binary", TRAIN, ("none of", "row 1: not JSON", "correct them"), file("data.jsonl", bytes(range(1, 256)) * 9)),
    ("truncated gzip", OTHER.format("d.jsonl.gz"), ("truncated gzip", "write it again"),
     file("d.jsonl.gz", gzip.compress(b'{"user_id": "u"}\n' * 99)[:-20])),
    ("no gzip", OTHER.format("d.jsonl.gz"), ("damaged or truncated gzip", "write it again"), file("d.jsonl.gz", "{}")),
    ("gzip by another name", TRAIN, ("is gzip-compressed", "name it .gz"), file("data.jsonl", gzip.compress)),
    ("truncated parquet", OTHER.format("d.parquet"), ("no readable Parquet file",),
     file("d.parquet", parquet_bytes()[:-9])),
    ("no parquet", OTHER.format("d.parquet"), ("no readable Parquet file",), file("d.parquet", "user_id,prompt")),
    ("parquet by another name", TRAIN, ("a Parquet file", "name it .parquet"), file("data.jsonl", parquet_bytes())),
    ("UTF-16", TRAIN, ("UTF-16", "save it as UTF-8"), file("data.jsonl", "{}".encode("utf-16"))),
    ("JSON array cut short", TRAIN, ("is not valid JSON", "correct it"), file("data.jsonl", "[{}")),
    ("bad JSON in a row", TRAIN, ("row 3: not JSON", "correct them, or drop them with --skip-bad-rows"),
     line(3, b'{"user_id": ')),
    ("a row that is no object", TRAIN, ("row 4: a JSON list", "expected an object", "correct"), line(4, b"[1, 2]")),
    ("endless nesting", TRAIN, ("row 2: not JSON", "nesting"), line(2, b"[" * 200_000)),
    ("no user_id", TRAIN, ("no column 'user_id'", "columns found: 'prompt'", "expected user_id"), without("user_id")),
    ("no prompt", TRAIN, ("no column 'prompt'", "expected"), without("prompt")),
    ("no chosen", TRAIN, ("no column 'chosen'", "expected"), without("chosen")),
    ("no rejected", TRAIN, ("no column 'rejected'", "expected"), without("rejected")),
    ("no known column", TRAIN, ("no column 'user_id', 'prompt'", "expected"), rows(lambda i, r: {"text": "a"})),
    ("empty prompt", TRAIN, ("row 3: prompt is blank", "correct"), row(prompt="")),
    ("blank chosen", TRAIN, ("row 3: chosen is blank", "correct"), row(chosen=" \t\n")),
    ("missing rejected", TRAIN, ("row 3: rejected is missing", "correct"), row(rejected=None)),
    ("null user", TRAIN, ("row 5: user_id is missing",), rows(lambda i, r: r | ({"user_id": None} if i == 5 else {}))),
    ("a number for a text", TRAIN, ("row 3: chosen is 7, expected text", "correct"), row(chosen=7)),
    ("NaN for a text", TRAIN, ("row 3: chosen is missing", "correct"), row(chosen=float("nan"))),
    ("a user that is a fraction", TRAIN, ("row 3: user_id is 1.5, expected text or a whole number",), row(user_id=1.5)),
    ("ranking with a text twice", TRAIN, ("row 3: ranking has a text twice",), ranked(3, ["a", "b", "a"])),
    ("ranking of one", TRAIN, ("row 3: ranking has 1 texts, expected 2 to",), ranked(3, ["a"])),
    ("ranking that is a text", TRAIN, ("row 3: ranking is 'a', expected a list of texts",), ranked(3, "a")),
    ("ranking beside chosen", TRAIN, ("row 3: both a ranking and chosen", "expected one"),
     ranked(3, ["a", "b"], chosen="a")),
    ("ranking with a blank", TRAIN, ("row 3: an answer of ranking (level 2) is blank",), ranked(3, ["a", ""])),
    ("weight 0", TRAIN, ("row 3: weight is 0, expected a finite number > 0",), row(weight=0)),
    ("weight below 0", TRAIN, ("row 3: weight is -1, expected a finite number > 0",), row(weight=-1)),
    ("weight NaN", TRAIN, ("row 3: weight is nan, expected",), row(weight=float("nan"))),
    ("weight infinite", TRAIN, ("row 3: weight is inf, expected",), row(weight=float("inf"))),
    ("weight a text", TRAIN, ("row 3: weight is 'heavy', expected",), row(weight="heavy")),
    ("tie a word", TRAIN, ("row 3: tie is 'maybe', expected true or false",), row(tie="maybe")),
    ("tie a number", TRAIN, ("row 3: tie is 1, expected true or false",), row(tie=1)),
    ("time a word", TRAIN, ("row 3: timestamp is 'today', expected a finite number",), row(timestamp="today")),
    ("time infinite", TRAIN, ("row 3: timestamp is inf",), row(timestamp=float("inf"))),
    ("no UTF-8", TRAIN, ("row 3: chosen is not UTF-8 text", "correct"),
     line(3, b'{"user_id": "u1", "prompt": "p", "chosen": "\xff", "rejected": "b"}')),
    ("lone surrogate", TRAIN, ("row 3: prompt is not UTF-8 text",), row(prompt="\ud800")),
    ("conversation half", TRAIN, ("row 3: one of chosen and rejected is a list", "expected both"),
     row(chosen=[{"role": "assistant", "content": "a"}])),
    ("message without role", TRAIN, ("row 3: chosen has a message without",),
     row(chosen=[{"content": "a"}], rejected=[{"role": "assistant", "content": "b"}])),
    ("ragged CSV", OTHER.format("data.csv"), ("row 3: 3 fields where the header has 4",), csv("u,p,a,b", "u,p,a")),
    ("one column twice", OTHER.format("data.csv"), ("two columns named 'prompt'", "rename"),
     csv("u,p,p", header="user_id,prompt,prompt")),
    ("CSV without rows", OTHER.format("data.csv"), ("holds no rows", "expected at least one"), csv()),
    ("CSV tie", OTHER.format("data.csv"), ("row 2: tie is 'perhaps'",),
     csv("u,p,a,b,perhaps", header="user_id,prompt,chosen,rejected,tie")),
    ("CSV ranking", OTHER.format("data.csv"), ("row 2: ranking is 'a;b', expected a list",),
     csv("u,p,a;b", header="user_id,prompt,ranking")),
    ("more than ten bad rows", TRAIN, ("84 rows", "row 10:", "and 74 more"), rows(lambda i, r: r | {"chosen": ""})),
    ("no hub name", OTHER.format("hf://nothing"), ("no hub name", "expected hf://owner/name")),
)  # fmt: skip
def test_malformed_files(case: Case, run: Run, work: Path, base: Path) -> None:
    refuses(case, run, work, base)


def vector(number: int, **changes: Any) -> Prepare:
    return rows(lambda i, r: r | (changes if i == number else {}), vectors=True)


@cases(
    ("mixed widths", TRAIN, ("row 3: chosen_vector has 2 numbers where the first has 3",),
     vector(3, chosen_vector=[1, 2])),
    ("NaN", TRAIN, ("row 3: rejected_vector holds NaN",), vector(3, rejected_vector=[1, float("nan"), 2])),
    ("no list", TRAIN, ("row 3: chosen_vector is 5, expected a list of finite numbers",), vector(3, chosen_vector=5)),
    ("empty", TRAIN, ("row 3: chosen_vector is missing or empty",), vector(3, chosen_vector=[])),
    ("one side", TRAIN, ("no column 'rejected_vector'", "expected"),
     rows(lambda i, r: {k: v for k, v in r.items() if k != "rejected_vector"}, vectors=True)),
    ("two of one item", TRAIN, ("row 7: its vector differs from the one an earlier row gives",),
     vector(7, chosen_vector=[9, 9, 9])),
    ("none, though asked for", "train-reward one.jsonl --out out --embedder vectors", ("10 such are needed",)),
    ("none anywhere", TRAIN.replace("--embedder hash", "--embedder vectors"),
     ("carries no vectors", "add chosen_vector and rejected_vector, or choose another embedder")),
)  # fmt: skip
def test_malformed_vectors(case: Case, run: Run, work: Path, base: Path) -> None:
    refuses(case, run, work, base)


@cases(
    ("one user", OTHER.format("one.jsonl"), ("1 users", "at least 10 such are needed", "bring more users")),
    ("nine users", TRAIN, ("9 users", "at least 10"),
     rows(lambda i, r: r if r["user_id"] in {f"u{n}" for n in range(9)} else None)),
    ("one choice each", TRAIN, ("14 users, 0 of them with choices on two prompts", "more choices of each"),
     rows(lambda i, r: r if i % 6 == 1 else None)),
    ("one pair for all", TRAIN, ("14 users, 0 of them", "separate items"),
     rows(lambda i, r: r | {"prompt": "p", "chosen": "a", "rejected": "b"})),
    ("ties only", TRAIN, ("all 84 choices are ties", "give strict ones"), rows(lambda i, r: r | {"tie": True})),
    ("no train rows", TRAIN, ("'split' column without 'train' rows (found 'test')", "drop it"),
     rows(lambda i, r: r | {"split": "test"})),
    ("too few train users", TRAIN, ("1 users", "at least 10"),
     rows(lambda i, r: r | {"split": "train" if r["user_id"] == "u0" else "validation"})),
    ("too few validation users", TRAIN, ("13 training and 1 validation users", "bring more users"),
     rows(lambda i, r: r | {"split": "validation" if r["user_id"] == "u0" else "train"})),
)  # fmt: skip
def test_too_little_data_to_train_on(case: Case, run: Run, work: Path, base: Path) -> None:
    refuses(case, run, work, base)


EVALUATE = "evaluate {base}/model data.jsonl --out out"


@cases(
    ("no test rows", EVALUATE, ("no split 'test'", "found 'train'"), rows(lambda i, r: r | {"split": "train"})),
    ("ties only", EVALUATE, ("no user has a target", "give strict choices"), rows(lambda i, r: r | {"tie": True})),
    ("k beyond everybody", EVALUATE + " --k 50", ("nobody has 50 context choices", "give smaller numbers to --k")),
    ("no vectors", "evaluate {base}/vmodel data.jsonl --out out",
     ("data.jsonl carries no vectors", "expected chosen_vector and rejected_vector of size 3")),
    ("vectors of another width", "evaluate {base}/vmodel data.jsonl --out out", ("vectors of size 2", "of size 3"),
     rows(lambda i, r: r | {name: r[name][:2] for name in ("chosen_vector", "rejected_vector")}, vectors=True)),
    ("missing", "evaluate {base}/model none.csv --out out", ("none.csv does not exist", "expected a file")),
)  # fmt: skip
def test_data_that_cannot_be_evaluated(case: Case, run: Run, work: Path, base: Path) -> None:
    refuses(case, run, work, base)


INFER = "infer {base}/model one.jsonl --out p.json"
SCORE = "score {base}/model --profile profile.json items.jsonl --out s.json"


@cases(
    ("several users", "infer {base}/model data.jsonl --out p.json",
     ("choices of 14 users ('u0', 'u1'", "name one with --user")),
    ("unknown user", INFER + " --user eve", ("no choice of user 'eve'", "its users: 'u1'")),
    ("a user whose choices say nothing", INFER + " --user u1",
     ("none of the 1 rows of user 'u1' can be used: row 2: its answers are the same text",),
     lambda work, base: write_rows(work / "one.jsonl", [
         small_rows()[0], small_rows()[6] | {"chosen": "a", "rejected": "a "}])),
    ("nobody's choices say anything", INFER + " --user u1",
     ("no choice of user 'u1', nor a usable one of anybody else",),
     lambda work, base: write_rows(work / "one.jsonl", [small_rows()[0] | {"chosen": "a", "rejected": "a"}])),
    ("another user's profile", SCORE + " --user u7", ("profile.json is the profile of", "not of 'u7'")),
    ("a user without choices to add", "add profile.json more.jsonl --model {base}/model",
     ("none of the 1 rows of user 'u1' can be used: row 1: ",),
     lambda work, base: write_rows(work / "more.jsonl", [
         small_rows()[6] | {"chosen": "a", "rejected": "a"}, small_rows()[0]])),
    ("no user_id", INFER, ("no column 'user_id'", "expected"),
     file("one.jsonl", '{"prompt": "p", "chosen": "a", "rejected": "b"}\n')),
    ("no vectors", "infer {base}/vmodel one.jsonl --out p.json", ("carries no vectors", "expected chosen_vector")),
    ("empty", INFER, ("one.jsonl is empty", "expected"), file("one.jsonl", "")),
)  # fmt: skip
def test_choices_that_are_not_one_users(case: Case, run: Run, work: Path, base: Path) -> None:
    refuses(case, run, work, base)


def test_a_user_with_no_choice_left_after_dropping(run: Run, work: Path, base: Path) -> None:
    """Rows of every kind are named: dropped for a fault, and for saying nothing."""
    own = small_rows()[6:8]
    write_rows(work / "one.jsonl", [small_rows()[0], own[0] | {"rejected": own[0]["chosen"]}, own[1] | {"chosen": " "}])
    infer = ["infer", str(base / "model"), "one.jsonl", "--out", "p.json", "--user", "u1"]
    code, _, err = run(*infer, "--skip-bad-rows")
    assert code == 2
    said = err.splitlines()[-1]
    assert "none of the 2 rows of user 'u1' can be used: row 2: its answers are the same text; row 3: chosen is" in said
    assert not (work / "p.json").exists()
    assert run(*[*infer[:-1], "u0"], "--skip-bad-rows")[0] == 0


@cases(
    ("missing", SCORE.replace("items", "none"), ("none.jsonl does not exist", "expected a file")),
    ("empty", SCORE, ("items.jsonl is empty", "expected"), file("items.jsonl", "")),
    ("no response", SCORE, ("no column 'response'", "columns found: 'prompt'"),
     file("items.jsonl", '{"prompt": "p"}\n')),
    ("preferences instead", SCORE.replace("items", "data"), ("no column 'response'", "'chosen'")),
    ("blank response", SCORE, ("row 1: response is blank", "correct"),
     file("items.jsonl", '{"prompt": "p", "response": " "}\n')),
    ("null prompt", SCORE, ("row 2: prompt is missing", "correct"),
     file("items.jsonl", '{"prompt": "p", "response": "r"}\n{"prompt": null, "response": "r"}\n')),
    ("bad JSON", SCORE, ("row 1: not JSON",), file("items.jsonl", '{"prompt": "p", \n')),
    ("texts for a model of vectors", "score {base}/vmodel --profile p.json items.jsonl",
     ("trained on vectors in the data", "give vectors"), lambda work, base: profile_of_vectors(work, base)),
)  # fmt: skip
def test_malformed_items(case: Case, run: Run, work: Path, base: Path) -> None:
    refuses(case, run, work, base)


def profile_of_vectors(work: Path, base: Path) -> None:
    import tacit

    tacit.RewardModel.load(base / "vmodel").user(tacit.read_choices(work / "vdata.jsonl"), user="u1").save("p.json")


EMBED = "embed data.jsonl --store store --embedder hash"


@cases(
    ("unknown embedder", "embed data.jsonl --store s --embedder nobody", ("no folder 'nobody'", "known names are")),
    ("folder without a model", "embed data.jsonl --store s --embedder ./here",
     ("holds no config.json", "save_pretrained"), lambda work, base: (work / "here").mkdir()),
    ("missing folder", "embed data.jsonl --store s --embedder ./here",
     ("no model folder at './here'", "give an existing folder")),
    ("store of another embedder", "embed vdata.jsonl --store store",
     ("made by embedder 'hash'", "give that embedder or another store"), copied("store")),
    ("store of another embedder, to train", "train-reward vdata.jsonl --out out --store store " + " ".join(TINY),
     ("made by embedder 'hash'", "give that embedder or another store"), copied("store")),
    ("a file", EMBED, ("'store' exists and is no item store", "give a new or empty folder"), file("store", "x")),
    ("under a file", EMBED.replace("store store", "store a/b"), ("cannot write to the item store 'a/b'",),
     file("a", "x")),
    ("a folder of something else", EMBED, ("is no item store", "give a new or empty folder"),
     file("store/thesis.tex", "x")),
    ("damaged header", EMBED, ("store.json' is damaged", "embed again"),
     copied("store", file("store/store.json", lambda b: b[:-9]))),
    ("header of another version", EMBED, ("of another version", "embed again"),
     copied("store", altered("store/store.json", lambda s: s.update(version=9)))),
    ("truncated vectors", EMBED, ("vectors.f16' is truncated", "embed again"),
     copied("store", file("store/vectors.f16", lambda b: b[:-2]))),
    ("keys alike", EMBED, ("keys are damaged", "embed again"),
     copied("store", file("store/keys.bin", lambda b: b[:16] * (len(b) // 16)))),
    ("vectors that are NaN", TRAIN + " --store store", ("vectors are damaged", "embed again"),
     copied("store", file("store/vectors.f16", lambda b: b"\xff\xff" + b[2:]))),
    ("vectors too large", "embed vdata.jsonl --store s", ("overflows float16", "expected finite values up to"),
     lambda work,
     base: write_rows(work / "vdata.jsonl", json.loads(json.dumps(small_rows(vectors=True)).replace("1.0", "1e6")))),
)  # fmt: skip
def test_embedders_and_stores(case: Case, run: Run, work: Path, base: Path) -> None:
    refuses(case, run, work, base)


def test_a_store_that_cannot_be_written(run: Run, work: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no(*arguments: object, **settings: object) -> None:
        raise PermissionError(13, "Permission denied", "store")

    monkeypatch.setattr("tacit.embedders.rows.write_json", no)
    for command in (EMBED, TRAIN + " --store store"):
        refuses(Case("", command, ("cannot write the item store 'store': Permission denied",)), run, work, base)
