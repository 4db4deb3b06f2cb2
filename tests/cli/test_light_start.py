"""Wrong options, missing files and bad rows are answered before anything heavy is imported."""

import subprocess
import sys
from pathlib import Path

import pytest
from cli_world import write_rows

from tacit.cli import VERBS

CODE = """
import sys
from tacit.cli import main
code = main({argv!r})
heavy = {{"torch", "transformers", "matplotlib", "peft", "accelerate", "datasets", "trl", "pandas"}}
loaded = sorted(heavy & set(sys.modules))
print("loaded:", *loaded)
sys.exit(code)
"""
ROW = {"user_id": "u", "prompt": "p", "chosen": "a", "rejected": "b"}
HEAVY_BY_DEFAULT = ("demo", "synthetic")
"""Verbs that read no file."""


def loaded(argv: list[object], folder: Path) -> tuple[int, set[str], str]:
    """Exit code of a command in its own process, what it has imported of the heavy libraries, and its complaint."""
    code = CODE.format(argv=[str(each) for each in argv])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, check=False)
    line = next(line for line in done.stdout.splitlines() if line.startswith("loaded:"))
    return done.returncode, set(line.split()[1:]), done.stderr


@pytest.mark.parametrize("verb", VERBS)
def test_a_wrong_option_is_answered_without_torch(verb: str, tmp_path: Path) -> None:
    code, heavy, err = loaded([verb, "--no-such-option"], tmp_path)
    assert (code, heavy) == (2, set()), err


WITH = {
    "import": ["FILE", "--out", "o.jsonl"],
    "embed": ["FILE", "--store", "s"],
    "train-reward": ["FILE", "--out", "o"],
    "evaluate": ["model", "FILE", "--out", "o"],
    "audit": ["FILE", "--out", "o"],
    "benchmark": ["--data", "FILE", "--out", "o"],
    "infer": ["model", "FILE", "--out", "p.json"],
    "add": ["profile.json", "FILE", "--model", "model"],
    "explain": ["model", "FILE", "--profile", "profile.json"],
    "score": ["model", "FILE", "--profile", "profile.json"],
    "train-policy": ["FILE", "--base", "base", "--reward", "model", "--out", "o"],
    "generate": ["model", "--messages", "FILE"],
    "export": ["model", "--profile", "FILE", "--out", "o"],
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with what looks like a model and a profile, and with bad rows."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "profile.json").write_text('{"encoder": "x", "user": "u"}')
    write_rows(tmp_path / "bad.jsonl", [ROW, ROW | {"chosen": 3}, ROW | {"user_id": None}])
    return tmp_path


@pytest.mark.parametrize(
    ("verb", "file"),
    [
        (verb, file)
        for verb in WITH
        for file in ("absent.jsonl", "bad.jsonl")
        if (verb, file) != ("export", "bad.jsonl")
    ],
)
def test_a_missing_file_and_a_bad_row_are_answered_without_torch(verb: str, file: str, place: Path) -> None:
    code, heavy, err = loaded([verb, *(file if word == "FILE" else word for word in WITH[verb])], place)
    assert (code, heavy) == (2, set()), err
    assert file in err


@pytest.mark.parametrize("damage", ["", "[]", "{}", '{"encoder": "x", "user": "v"}'])
@pytest.mark.parametrize("verb", ["add", "explain", "score", "generate", "export"])
def test_an_unusable_profile_is_answered_without_torch(verb: str, damage: str, place: Path) -> None:
    """Damaged, or of another user than the one asked for."""
    if verb == "add" and '"v"' in damage:
        pytest.skip("a profile says itself whose rows are added")
    write_rows(place / "rows.jsonl", [ROW])
    (place / "profile.json").write_text(damage)
    words = {
        "add": ["profile.json", "rows.jsonl", "--model", "model"],
        "explain": ["model", "rows.jsonl", "--profile", "profile.json", "--user", "u"],
        "score": ["model", "rows.jsonl", "--profile", "profile.json", "--user", "u"],
        "generate": ["model", "--prompt", "p", "--profile", "profile.json", "--user", "u"],
        "export": ["model", "--profile", "profile.json", "--user", "u", "--out", "o"],
    }[verb]
    code, heavy, err = loaded([verb, *words], place)
    assert (code, heavy) == (2, set()), err
    assert "profile.json" in err


@pytest.mark.parametrize("verb", ["infer", "add", "explain"])
def test_a_user_without_a_usable_choice_is_answered_without_torch(verb: str, place: Path) -> None:
    write_rows(place / "rows.jsonl", [ROW | {"user_id": "v"}, ROW | {"chosen": "same", "rejected": "same"}])
    words = {
        "infer": ["model", "rows.jsonl", "--user", "u", "--out", "p.json"],
        "add": ["profile.json", "rows.jsonl", "--model", "model"],
        "explain": ["model", "rows.jsonl", "--profile", "profile.json"],
    }[verb]
    code, heavy, err = loaded([verb, *words], place)
    assert (code, heavy) == (2, set()), err
    assert "user 'u' can be used: row 2: its answers are the same text" in err


def test_choices_of_several_users_are_answered_without_torch(place: Path) -> None:
    write_rows(place / "rows.jsonl", [ROW, ROW | {"user_id": "v"}])
    code, heavy, err = loaded(["infer", "model", "rows.jsonl", "--out", "p.json"], place)
    assert (code, heavy) == (2, set()), err
    assert "name one with --user" in err


@pytest.mark.parametrize("verb", [verb for verb in WITH if "model" in WITH[verb]])
def test_a_missing_model_is_answered_without_torch(verb: str, place: Path) -> None:
    write_rows(place / "rows.jsonl", [ROW])
    words = {"FILE": "rows.jsonl", "model": "absent"}
    code, heavy, err = loaded([verb, *(words.get(word, word) for word in WITH[verb])], place)
    assert (code, heavy) == (2, set()), err
    assert "absent" in err


def test_every_verb_that_reads_a_file_is_tried() -> None:
    assert {*WITH, *HEAVY_BY_DEFAULT} == set(VERBS)
