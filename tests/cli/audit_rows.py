"""Preferences with people and prompts enough to keep some of both apart."""

from cli_world import Row

__all__ = ["enough_rows"]


def enough_rows(users: int = 120, prompts: int = 30, choices: int = 14, *, vectors: bool = False) -> list[Row]:
    """Every other user takes the short answer, the others the long one."""
    made = []
    for user in range(users):
        for step in range(choices):
            prompt = (7 * user + step) % prompts
            short, long = f"Yes, {prompt}.", f"Well, as to question {prompt} there is a great deal to be said."
            chosen, rejected = (short, long) if user % 2 else (long, short)
            row: Row = {"user_id": f"u{user}", "prompt": f"Question {prompt}?", "chosen": chosen, "rejected": rejected}
            if vectors:
                of = {short: [1.0, 0.0, prompt / prompts], long: [0.0, 1.0, prompt / prompts]}
                row |= {"chosen_vector": of[chosen], "rejected_vector": of[rejected]}
            made.append(row)
    return made
