"""`tacit import`: any log becomes choices that read back the same, with a report; and every verb takes its options."""

import json
from pathlib import Path

import pytest
from cli_world import Run

from tacit.choices import read_choices

SYSTEM = {"role": "system", "content": "Be brief."}


def vote(number: int, **changes: object) -> dict[str, object]:
    asked = [SYSTEM, {"role": "user", "content": f"Question {number}?"}]
    return {
        "question_id": str(number), "winner": "model_a", "judge": number % 3, "tstamp": 1.7e12 + number,
        "conversation_a": [*asked, {"role": "assistant", "content": "Yes 🙂."}],
        "conversation_b": [*asked, {"role": "assistant", "content": "No."}],
    } | changes  # fmt: skip


LOG = [
    *(vote(number) for number in range(6)),
    vote(6, winner="tie (bothbad)"),
    vote(0),
    vote(7, conversation_b=vote(7)["conversation_a"]),
]


@pytest.mark.parametrize("ending", [".parquet", ".jsonl"])
def test_a_log_becomes_choices_that_read_back_the_same(ending: str, run: Run, tmp_path: Path) -> None:
    log, out = tmp_path / "votes.json", tmp_path / f"choices{ending}"
    log.write_text(json.dumps(LOG))
    code, printed, err = run("import", log, "--out", out, "--json")
    assert code == 0, err
    report = json.loads(printed)
    assert (report["format"], report["rows_read"], report["choices"], report["rows_dropped"]) == ("arena", 9, 8, 1)
    assert report["dropped_by_cause"] == {"its answers are the same text": 1}
    assert (report["users"], report["ties"], report["repeated_choices"]) == (3, 1, 1)
    assert report["from"] == "2023-11-14T22:13:20+00:00"
    assert list(read_choices(out)) == list(read_choices(log))
    assert read_choices(out).item_texts() == read_choices(log).item_texts()


def test_what_is_written_is_named_for_people(run: Run, tmp_path: Path) -> None:
    log = tmp_path / "votes.json"
    log.write_text(json.dumps([*LOG, {"winner": "nobody"}]))
    code, _, err = run("import", log, "--out", tmp_path / "choices.parquet")
    assert code == 2
    assert "row 10: winner is 'nobody'" in err
    assert "drop them with --skip-bad-rows" in err
    code, printed, _ = run("import", log, "--out", tmp_path / "choices.parquet", "--skip-bad-rows")
    assert "--overwrite" in run("import", log, "--out", tmp_path / "choices.parquet", "--skip-bad-rows")[2]
    assert code == 0
    assert "arena votes" in printed
    assert "10 rows read, 8 choices kept, 2 rows dropped" in printed


def test_rankings_vectors_splits_and_weights_read_back_the_same(run: Run, tmp_path: Path) -> None:
    rows = [
        {"user_id": "u", "prompt": "p", "chosen": "a", "rejected": ["b", "c"], "weight": 2.5, "split": "train"},
        {"user_id": "v", "prompt": "p", "ranking": ["c", ["a", "b"], "d"], "timestamp": "2024-05-01T12:00:00Z"},
        {"user_id": "v", "prompt": "\x1e[]", "chosen": "a", "rejected": "b", "tie": True},
    ]
    vectors = [{"user_id": "u", "prompt": "p", "chosen": "a", "rejected": "b", "chosen_vector": [1, 0.1],
                "rejected_vector": [2, 3]}]  # fmt: skip
    for number, some in enumerate((rows, vectors)):
        log = tmp_path / f"log{number}.jsonl"
        log.write_text("".join(json.dumps(row) + "\n" for row in some))
        for out in (tmp_path / "out.parquet", tmp_path / "out.jsonl"):
            assert run("import", log, "--out", out, "--overwrite")[0] == 0
            before, after = read_choices(log), read_choices(out)
            assert list(before) == list(after)
            assert before.split_names == after.split_names
            if before.item_vectors is not None and after.item_vectors is not None:
                assert before.item_vectors.tolist() == after.item_vectors.tolist()


@pytest.mark.parametrize("verb", ["import", "train-reward", "audit", "embed"])
def test_columns_and_formats_are_given_by_hand(verb: str, run: Run, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("who;prompt;chosen;rejected\nu;p;a;b\n")
    places = {"embed": ["--store", tmp_path / "s"], "import": ["--out", tmp_path / "o.jsonl"]}
    rest = places.get(verb, ["--out", tmp_path / "o"])
    code, _, err = run(verb, log, *rest)
    assert (code, "did you mean --map user_id='who'?" in err or "no column 'user_id'" in err) == (2, True)
    code, _, err = run(verb, log, *rest, "--map", "user_id")
    assert (code, "expected OURS=THEIRS" in err) == (2, True)
    code, _, err = run(verb, log, *rest, "--format", "magic")
    assert (code, "log format 'magic' is unknown" in err) == (2, True)
    code, _, err = run(verb, log, *rest, "--map", "user_id=who", *(["--embedder", "hash"] if verb == "embed" else []))
    assert code == (0 if verb in ("import", "embed") else 2)
    assert "user_id" not in err


def test_another_ending_is_refused(run: Run, tmp_path: Path) -> None:
    log = tmp_path / "votes.json"
    log.write_text(json.dumps(LOG))
    code, _, err = run("import", log, "--out", tmp_path / "choices.xlsx")
    assert (code, "expected .parquet or .jsonl" in err) == (2, True)
