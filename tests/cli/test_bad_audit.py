"""Bad input to `tacit audit`: each refused in one line, before anything is written."""

from pathlib import Path

from audit_rows import enough_rows
from bad_input import Case, Prepare, cases, file, refuses
from cli_world import TINY, Run, write_rows

PLAIN = "audit data.jsonl --out out --embedder hash"
AUDIT = f"{PLAIN} {' '.join(TINY)}"


def enough(**changes: object) -> Prepare:
    """Rows that can be audited, with some cells changed."""

    def prepare(work: Path, base: Path) -> None:
        write_rows(work / "data.jsonl", [row | changes for row in enough_rows()])

    return prepare


def bad_row(work: Path, base: Path) -> None:
    rows = enough_rows()
    rows[4]["chosen"] = 3
    write_rows(work / "data.jsonl", rows)


@cases(
    ("no data", "audit --out out", ("Missing argument 'DATA'", "--help")),
    ("no --out", "audit data.jsonl", ("Missing option '--out'", "--help")),
    ("missing file", AUDIT.replace("data.jsonl", "none.jsonl"), ("none.jsonl does not exist", "expected a file")),
    ("min gain below 0", f"{PLAIN} --min-gain=-1", ("--min-gain is -1 points", "from 0 to 100")),
    ("min gain NaN", f"{PLAIN} --min-gain nan", ("--min-gain is nan points", "from 0 to 100")),
    ("min gain beyond all", f"{PLAIN} --min-gain 101", ("--min-gain is 101 points", "from 0 to 100")),
    ("min gain a word", f"{PLAIN} --min-gain much", ("Invalid value for '--min-gain'", "--help")),
    ("no repeats", f"{PLAIN} --repeats 0", ("--repeats is 0", "expected at least 1")),
    ("unknown setting", f"{PLAIN} --set train.steps=5", ("unknown setting train", "did you mean training?")),
    ("unknown embedder", "audit data.jsonl --out out --embedder ./none", ("./none",), enough()),
    ("no vectors", "audit data.jsonl --out out --embedder vectors", ("carries no vectors", "another embedder"),
     enough()),
    ("somebody's folder", AUDIT.replace("--out out", "--out taken"),
     ("--out taken is not empty and holds no audit.json", "name another folder"), file("taken/notes.txt", "mine")),
    ("a file for a folder", AUDIT.replace("--out out", "--out data.jsonl"), ("data.jsonl", "is a file")),
    ("a bad row", AUDIT, ("row 5: chosen is 3, expected text", "--skip-bad-rows"),
     bad_row),
    ("one user", AUDIT, ("data.jsonl: 1 users", "bring more users"), enough(user_id="u1")),
    ("one pair", AUDIT, ("items held out", "bring more users"), enough(prompt="p", chosen="a", rejected="b")),
    ("nothing but ties", AUDIT, ("data.jsonl", "ties"), enough(tie=True)),
)  # fmt: skip
def test_audit(case: Case, run: Run, work: Path, base: Path) -> None:
    refuses(case, run, work, base)
