"""Two million choices on a small machine: 200 000 items with supplied vectors, 50 000 users, peak memory.

    python experiments/scale.py [--out scale.json] [--fast]

A simulated world (users' weights on a sphere, items' vectors eight traits in noise, choices by Bradley-Terry-Luce)
becomes a `ChoiceTable` with texts and vectors of size 384, and `train_reward` trains a reward model and its pooled
control on it. All of it happens in a subprocess, whose peak resident memory is what the operating system reports at
its end: the interpreter, torch, data generation, splitting, training and calibration included.
"""

import json
import resource
import subprocess
import sys
import time
from argparse import Namespace
from typing import Any

import numpy as np
import pyarrow as pa

from _report import finish, machine, parser, table

LIMIT_GB = 3.0
RESPONSES = 4  # per prompt


def main() -> None:
    """Run the child, print the table, write JSON."""
    made = parser(__doc__)
    made.add_argument("--choices", type=int, default=2_000_000)
    made.add_argument("--items", type=int, default=200_000)
    made.add_argument("--users", type=int, default=50_000)
    made.add_argument("--dim", type=int, default=384)
    made.add_argument("--steps", type=int, default=300)
    made.add_argument("--child", action="store_true", help="what the subprocess runs")
    options = made.parse_args()
    if options.fast:
        options.choices, options.items, options.users, options.steps = 20_000, 2_000, 500, 20
    if options.child:
        print(json.dumps(child(options)))
        return
    done = subprocess.run([sys.executable, __file__, "--child", *sys.argv[1:]], stdout=subprocess.PIPE, check=True)
    measured = json.loads(done.stdout.splitlines()[-1])
    sizes = {name: getattr(options, name) for name in ("choices", "items", "users", "dim", "steps")}
    result = {
        "machine": machine(options.device),
        "fast": options.fast,
        "sizes": sizes,
        "limit_gb": LIMIT_GB,
        **measured,
    }
    table(
        ["phase", "seconds", "peak so far, GB"],
        [[name, phase["seconds"], phase["peak_gb"]] for name, phase in measured["phases"].items()],
    )
    print(f"accuracy on validation users {measured['accuracy']:.3f}, pooled {measured['pooled_accuracy']:.3f}")
    finish(result, options.out)


def child(options: Namespace) -> dict[str, Any]:
    """Generate and train, noting the peak after each phase."""
    phases: dict[str, dict[str, float]] = {}
    started = time.perf_counter()

    def done(name: str) -> None:
        nonlocal started
        phases[name] = {"seconds": time.perf_counter() - started, "peak_gb": peak_gb()}
        started = time.perf_counter()

    import torch

    from tacit.embedders.table import item_vectors, table_embedder
    from tacit.training import TrainingConfig
    from tacit.workflows import train_reward

    done("import")
    choices = generate(options)
    done("generate")
    embedder = table_embedder(choices)
    vectors = item_vectors(choices, embedder)
    training = TrainingConfig(
        steps=options.steps, seed=options.seed, device=options.device, validate_every=max(1, options.steps // 3)
    )
    trained = train_reward(choices, vectors, embedder=embedder, training=training)
    done("train the model and its control")
    assert torch.isfinite(torch.tensor(trained.model.temperature))
    return {
        "phases": phases,
        "peak_gb": peak_gb(),
        "accuracy": trained.model.notes["validation_accuracy"],
        "pooled_accuracy": trained.pooled.notes["validation_accuracy"],
    }


def generate(options: Namespace) -> Any:
    """A `ChoiceTable` of simulated users; texts are short names, for the vectors are supplied."""
    from tacit.choices import ChoiceTable

    rng = np.random.default_rng(options.seed)
    prompts = options.items // RESPONSES
    traits = rng.standard_normal((options.items, 8), dtype=np.float32)  # what users care about
    vectors = traits @ rng.standard_normal((8, options.dim), dtype=np.float32)
    for part in np.array_split(vectors, 100):
        part += rng.standard_normal(part.shape, dtype=np.float32)
    taste = rng.standard_normal((options.users, 8), dtype=np.float32)
    taste *= 4 / np.linalg.norm(taste, axis=1, keepdims=True)
    n = options.choices
    user = rng.integers(options.users, size=n, dtype=np.int32)
    prompt = rng.integers(prompts, size=n, dtype=np.int32)
    first = rng.integers(RESPONSES, size=n, dtype=np.int32)
    second = (first + rng.integers(1, RESPONSES, size=n, dtype=np.int32)) % RESPONSES
    items = np.stack([RESPONSES * prompt + first, RESPONSES * prompt + second], axis=1)
    gap = ((traits[items[:, 0]] - traits[items[:, 1]]) * taste[user]).sum(1)
    lost = rng.random(n, dtype=np.float32) > 1 / (1 + np.exp(-gap))
    items[lost] = items[lost][:, ::-1]
    return ChoiceTable(
        users=names("user", options.users),
        prompts=names("prompt", prompts),
        responses=names("response", RESPONSES * prompts),
        item_prompt=np.arange(RESPONSES * prompts, dtype=np.int32) // RESPONSES,
        user=user,
        items=items,
        rank=np.broadcast_to(np.array([0, 1], dtype=np.int8), (n, 2)).copy(),
        weight=np.ones(n, dtype=np.float32),
        timestamp=np.full(n, np.nan),
        line=np.arange(1, n + 1),
        item_vectors=vectors[: RESPONSES * prompts],
        source="simulated choices",
    )


def names(kind: str, count: int) -> pa.LargeStringArray:
    return pa.array((f"{kind} {i}" for i in range(count)), type=pa.large_string())


def peak_gb() -> float:
    """Peak resident memory of this process, in gigabytes (10^9 bytes)."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


if __name__ == "__main__":
    main()
