"""What the tests of the command line share: preferences small enough to train on in a second."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

Run = Callable[..., tuple[int, str, str]]
Row = dict[str, Any]

USERS, PROMPTS = 14, 6
QUICK = ("training.steps=20", "training.validate_every=10", "training.threads=1", "training.device=cpu",
         "reward.latent=4", "reward.members=1", "reward.head.hidden=[16]")  # fmt: skip
TINY = [part for setting in QUICK for part in ("--set", setting)]


def small_rows(*, vectors: bool = False) -> list[Row]:
    """Half of the users always take the short answer, half the long one."""
    rows = []
    for user in range(USERS):
        for prompt in range(PROMPTS):
            short, long = (
                f"Yes, {prompt}.",
                f"Well, as to question {prompt} there is a great deal to be said, and so on.",
            )
            chosen, rejected = (short, long) if user % 2 else (long, short)
            row: Row = {"user_id": f"u{user}", "prompt": f"Question {prompt}?", "chosen": chosen, "rejected": rejected}
            if vectors:
                of = {short: [1.0, 0.0, prompt / 10], long: [0.0, 1.0, prompt / 10]}
                row |= {"chosen_vector": of[chosen], "rejected_vector": of[rejected]}
            rows.append(row)
    return rows


def write_rows(path: Path, rows: Iterable[Row]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
