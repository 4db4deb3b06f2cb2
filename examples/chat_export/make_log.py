"""A chat export of 3 000 rows as people have it, made the same every time: `python make_log.py OUT.json`.

Message lists with a system turn and several turns, ISO times with zones, numeric user ids, headers with spaces and
capitals, users of one choice, duplicates, equal answers, emojis, an answer of 20 kB, a tool call, a row without a user.
"""

import datetime as dt
import json
import sys
from pathlib import Path
from typing import Any

from tacit.worlds import TextWorld

USERS, CHOICES = 145, 20
FIRST = dt.datetime(2024, 5, 1, 8, 0, tzinfo=dt.timezone(dt.timedelta(hours=2)))
SYSTEM = {"role": "system", "content": "You answer questions about everyday things."}


def make_rows() -> list[dict[str, Any]]:
    """All rows, in the order of their times."""
    world = TextWorld.generate(
        seed=5, n_prompts=40, responses_per_prompt=6, n_users=USERS, choices_per_user=CHOICES, users="discrete"
    )
    rows = []
    for number, choice in enumerate(world.choices()):
        prompt: list[dict[str, str]] = [{"role": "user", "content": choice.prompt}]
        if number % 3 == 0:
            prompt.insert(0, SYSTEM)
        if number % 10 == 0:
            before = [{"role": "user", "content": "Hello! 👋"}, {"role": "assistant", "content": "Hello, what is it?"}]
            prompt[-1:-1] = before
        rows.append(_row(number, 1000 + int(choice.user_id.rpartition("-")[2]), prompt, *choice.responses[:2]))
    plain = [{"role": "user", "content": "How do I boil an egg?"}]
    rows += [_row(number, 5000 + number, plain, "Six minutes. 🙂", "Ten minutes.") for number in range(60)]  # one each
    rows += rows[:25]  # sent twice
    rows += [_row(number, 1000 + number, plain, "The same.", "The same.") for number in range(12)]
    rows.append(_row(3, 1003, plain, "Six minutes.", "word " * 4000))
    tool = {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": {"name": "timer"}}]}
    rows.append(_row(4, 1004, plain, [tool], [{"role": "assistant", "content": "Six minutes."}]))
    rows.append(_row(5, None, plain, "Six minutes.", "Ten minutes."))
    return rows


def _row(number: int, user: int | None, prompt: Any, chosen: Any, rejected: Any) -> dict[str, Any]:
    time = FIRST + dt.timedelta(minutes=7 * number)
    return {
        "Conversation": f"c-{number}", "User ID": user, "Timestamp": time.isoformat(), "Prompt": prompt,
        "Chosen": chosen, "Rejected": rejected, "Client": "web",
    }  # fmt: skip


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(make_rows(), ensure_ascii=False), encoding="utf-8")
