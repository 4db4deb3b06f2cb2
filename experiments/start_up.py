"""How long a verb takes to begin: CPU seconds of whole processes, against importing and loading the same embedder.

    python experiments/start_up.py [--repeats 5] [--out start_up.json] [--fast]

A model over MiniLM (hash with --fast) and a profile of ten choices are made first. Then, in alternation: a process that
imports torch and transformers and loads the embedder; `tacit infer` and `tacit score`; and commands that are wrong.
"""

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from _report import alternate, finish, machine, median, parser, ratio, table
from tacit.worlds import TextWorld

CLI = "import sys; from tacit.cli import main; sys.exit(main())"


def cpu_seconds(argv: list[str], folder: Path, expected: int = 0) -> float:
    """User and system seconds of one process, which must end with `expected`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", *argv], cwd=folder, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != expected:
        raise SystemExit(f"{argv[1:]} ended with {done.returncode}: {done.stderr}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Make a model, measure, print, write JSON."""
    made = parser(__doc__)
    made.add_argument("--repeats", type=int, default=5)
    options = made.parse_args()
    embedder, repeats = ("hash", 1) if options.fast else ("minilm", options.repeats)
    world = TextWorld.generate(
        seed=0, n_prompts=20, responses_per_prompt=4, n_users=40, choices_per_user=10, users="discrete"
    )
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        rows = [
            {"user_id": c.user_id, "prompt": c.prompt, "chosen": c.responses[0], "rejected": c.responses[1]}
            for c in world.choices()
        ]
        write(folder / "all.jsonl", rows)
        write(folder / "one.jsonl", [row for row in rows if row["user_id"] == rows[0]["user_id"]])
        write(folder / "bad.jsonl", [rows[0] | {"chosen": 3}, rows[1]])
        write(folder / "items.jsonl", [{"prompt": "Tea?", "response": text} for text in ("Yes.", "No.")])
        small = ["--set", "training.steps=20", "--set", "training.validate_every=20"]
        train = [CLI, "train-reward", "all.jsonl", "--out", "model", "--embedder", embedder, *small]
        cpu_seconds(train, folder)
        cpu_seconds([CLI, "infer", "model", "one.jsonl", "--out", "p.json"], folder)
        load = "import torch, transformers; from tacit.embedders import resolve_embedder; "
        score = [CLI, "score", "model", "--profile", "p.json", "items.jsonl"]
        arms = {
            "load": lambda: cpu_seconds([f"{load}resolve_embedder({embedder!r})"], folder),
            "infer": lambda: cpu_seconds(
                [CLI, "infer", "model", "one.jsonl", "--out", "p.json", "--overwrite"], folder
            ),
            "score": lambda: cpu_seconds(score, folder),
            "wrong option": lambda: cpu_seconds([CLI, "score", "--nothing"], folder, 2),
            "missing file": lambda: cpu_seconds([CLI, "train-reward", "none.jsonl", "--out", "o"], folder, 2),
            "bad row": lambda: cpu_seconds([CLI, "train-reward", "bad.jsonl", "--out", "o"], folder, 2),
        }
        found = alternate(arms, repeats)
    result: dict[str, Any] = {
        "machine": machine(), "fast": options.fast,
        "cpu_seconds": {name: median(times) for name, times in found.items()},
        "against_loading": {name: ratio(found[name], found["load"]) for name in ("infer", "score")},
    }  # fmt: skip
    against = result["against_loading"]
    table(
        ["", "CPU seconds", "against loading"],
        [
            [name, f"{median(times):.2f}", f"{against[name]['median_of_paired']:.2f}" if name in against else ""]
            for name, times in found.items()
        ],
    )
    finish(result, options.out)


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Rows as JSON Lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    main()
