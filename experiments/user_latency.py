"""What the user object costs: one more answer scored for a known user, and one more choice added.

    python experiments/user_latency.py [--repeats 200] [--out user_latency.json] [--fast]

A small reward model over MiniLM's vectors (or the hash embedder's, with --fast), a user of ten choices. Scoring one
answer is compared with embedding its text alone, in alternation; adding a choice whose vectors are known, with the
posterior found, one after another, stands by itself in milliseconds.
"""

import time
from typing import Any

import torch

from _report import alternate, finish, machine, median, parser, percentile, ratio, table
from tacit.embedders import item_vectors, resolve_embedder
from tacit.episodes import ChoiceBatch
from tacit.training import TrainingConfig
from tacit.users import User
from tacit.workflows import train_reward
from tacit.worlds import TextWorld


def main() -> None:
    """Train, measure, print, write JSON."""
    made = parser(__doc__)
    made.add_argument("--repeats", type=int, default=200)
    options = made.parse_args()
    repeats, prompts = (5, 8) if options.fast else (options.repeats, 20)
    torch.set_num_threads(1)
    world = TextWorld.generate(
        seed=0, n_prompts=prompts, responses_per_prompt=4, n_users=60, choices_per_user=12, users="discrete"
    )
    embedder = resolve_embedder("hash" if options.fast else "minilm", device="cpu")
    training = TrainingConfig(steps=40, validate_every=20, threads=1, device="cpu")
    vectors = item_vectors(world.table, embedder)
    model = train_reward(world.table, vectors, embedder=embedder, training=training).model
    model.read_with(embedder)
    user = model.user(world.table.of_users([0]))
    texts = iter(f"One more answer, number {number}, of a usual length for a chat." for number in range(10**6))

    def score() -> float:
        began = time.perf_counter()
        user.score("How do I boil an egg?", [next(texts)])
        return 1000 * (time.perf_counter() - began)

    def embed() -> float:
        began = time.perf_counter()
        embedder.embed([("How do I boil an egg?", next(texts))])
        return 1000 * (time.perf_counter() - began)

    def add() -> float:
        number = int(torch.randint(len(vectors) - 1, ()))
        batch = ChoiceBatch.pairs(vectors[None, None, number], vectors[None, None, number + 1])
        fresh = User(model, user.state)
        began = time.perf_counter()
        fresh.update(batch)
        _ = fresh.posterior
        return 1000 * (time.perf_counter() - began)

    found = alternate({"score": score, "embed": embed}, repeats)
    added = [add() for _ in range(repeats)]
    result: dict[str, Any] = {
        "machine": machine(), "fast": options.fast, "ms": {name: median(times) for name, times in found.items()},
        "score_against_embedding": ratio(found["score"], found["embed"]),
        "add_ms": {"p50": median(added), "p95": percentile(added, 0.95)},
    }  # fmt: skip
    table(
        ["", "ms", "ratio"],
        [
            ["embedding one answer", f"{result['ms']['embed']:.2f}", "1"],
            [
                "scoring it for a known user", f"{result['ms']['score']:.2f}",
                f"{result['score_against_embedding']['median_of_paired']:.2f}",
            ],
            ["adding a choice, posterior found (p50)", f"{result['add_ms']['p50']:.2f}", ""],
        ],
    )  # fmt: skip
    finish(result, options.out)


if __name__ == "__main__":
    main()
