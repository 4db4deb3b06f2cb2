"""Adapting to one user: how long until the model knows you, whatever you have chosen before.

    python benchmarks/adaptation.py [--out adaptation.json] [--fast]

- One new user with k = 10 choices whose item vectors are known: `model.infer`, one call at a time.
- One more choice by `model.update`, for users with 10, 100 and 1 000 choices behind them: time must not depend on it.
- 10 000 users in one call.
- Against gradient steps on per-user weights (as in LoRe: a shared basis V stays frozen, w in R^B is fitted by 500 Adam
  steps on the user's k pairs), on features computed beforehand, once for one user and once for all at a time.

The model has tacit's default sizes over 384-dimensional items and random weights: the time does not depend on them.
"""

import time
from collections.abc import Callable
from typing import Any

import torch
from _report import alternate, finish, machine, median, parser, percentile, ratio, table
from torch import Tensor
from torch.nn.functional import logsigmoid

from tacit.choices.choice import item_key
from tacit.episodes import ChoiceBatch
from tacit.rewards import RewardConfig, RewardModel
from tacit.rewards.network import RewardNetwork

DIM, K = 384, 10
BASIS = RewardConfig().latent  # as many weights per user as our z has
HISTORIES = (10, 100, 1000)
ADAM_STEPS = 500


def main() -> None:
    """Measure, print the table, write JSON."""
    made = parser(__doc__)
    made.add_argument("--users", type=int, default=10_000, help="users in the one big call")
    made.add_argument("--calls", type=int, default=1000, help="calls timed one at a time")
    made.add_argument("--repeats", type=int, default=7)
    options = made.parse_args()
    if options.fast:
        options.users, options.calls, options.repeats = 200, 20, 2
    torch.set_num_threads(1)  # one user is too little work to share
    generator = torch.Generator().manual_seed(options.seed)
    torch.manual_seed(options.seed)
    model = RewardModel(RewardNetwork(DIM, RewardConfig()).eval())

    one, more = choices(1, K, generator), choices(1, 1, generator)
    infer = each(lambda: model.infer(one), options.calls)
    states = {k: model.infer(choices(1, k, generator)) for k in HISTORIES}
    updates = interleaved({str(k): lambda s=s: model.update(s, more) for k, s in states.items()}, options.calls)

    everyone = choices(options.users, K, generator)
    basis = torch.randn(DIM, BASIS, generator=generator) / DIM**0.5
    arms = {
        "infer, one user": lambda: median(each(lambda: model.infer(one), 50)),
        "Adam, one user": lambda: seconds(lambda: fit_weights(gaps(one, basis))),
        "infer, all users": lambda: seconds(lambda: model.infer(everyone)),
        "Adam, all users": lambda: seconds(lambda: fit_weights(gaps(everyone, basis))),
    }
    for arm in list(arms.values())[:2]:
        arm()  # first imports
    spent = alternate(arms, options.repeats)
    result: dict[str, Any] = {
        "machine": machine() | {"threads": 1},
        "fast": options.fast,
        "model": {"dim": DIM, "latent": model.network.encoder.latent, "weights": "random, default sizes"},
        "infer_milliseconds": {"p50": 1e3 * median(infer), "p95": 1e3 * percentile(infer, 0.95), "k": K},
        "update_milliseconds_p50": {k: 1e3 * median(values) for k, values in updates.items()},
        "users_per_second": options.users / median(spent["infer, all users"]),
        "adam": {
            "steps": ADAM_STEPS,
            "milliseconds_one_user": 1e3 * median(spent["Adam, one user"]),
            "ratio_one_user": ratio(spent["Adam, one user"], spent["infer, one user"]),
            "ratio_all_users": ratio(spent["Adam, all users"], spent["infer, all users"]),
        },
        "users": options.users,
        "repeats": options.repeats,
    }
    report(result)
    finish(result, options.out)


def choices(users: int, k: int, generator: torch.Generator) -> ChoiceBatch:
    """Random pairs, with keys as choices from files have them."""
    vectors = torch.randn(2, users, k, DIM, generator=generator)
    batch = ChoiceBatch.pairs(vectors[0], vectors[1])
    keys = tuple(tuple(item_key("", f"{u} {j}")[:16] for j in range(k)) for u in range(users))
    return ChoiceBatch(batch.vectors, batch.rank, batch.weight, None, keys)


def gaps(batch: ChoiceBatch, basis: Tensor) -> Tensor:
    """Basis features of winner minus loser: Float[users choices basis]."""
    return (batch.vectors[:, :, 0] - batch.vectors[:, :, 1]) @ basis


def fit_weights(gap: Tensor, steps: int = ADAM_STEPS) -> Tensor:
    """Per-user weights Float[users basis] by Adam on the pairs' negative log-likelihood (users share nothing)."""
    weights = torch.zeros(gap.shape[0], gap.shape[2], requires_grad=True)
    optimizer = torch.optim.Adam([weights], lr=0.05, fused=True)
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=True)
        (-logsigmoid(torch.einsum("ukb,ub->uk", gap, weights)).mean(1).sum()).backward()
        optimizer.step()
    return weights.detach()


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def each(run: Callable[[], object], calls: int) -> list[float]:
    """Seconds of every single call."""
    for _ in range(10):
        run()
    return [seconds(run) for _ in range(calls)]


def interleaved(runs: dict[str, Callable[[], object]], calls: int) -> dict[str, list[float]]:
    """Seconds of every call, in turn."""
    for run in runs.values():
        each(run, 1)
    return alternate({name: lambda run=run: seconds(run) for name, run in runs.items()}, calls)


def report(result: dict[str, Any]) -> None:
    infer, adam = result["infer_milliseconds"], result["adam"]
    one, every = adam["ratio_one_user"]["of_medians"], adam["ratio_all_users"]["of_medians"]
    rows: list[list[object]] = [[f"infer, one user, k = {K}", f"{infer['p50']:.3f} ms", f"p95 {infer['p95']:.3f} ms"]]
    rows += [[f"update, {k} choices behind", f"{v:.3f} ms", ""] for k, v in result["update_milliseconds_p50"].items()]
    rows += [
        [f"infer, {result['users']:,} users, k = {K}", f"{result['users_per_second']:,.0f} users/s", ""],
        [f"{ADAM_STEPS} Adam steps, one user", f"{adam['milliseconds_one_user']:.0f} ms", f"{one:,.0f} x infer"],
        [f"{ADAM_STEPS} Adam steps, all users at once", "", f"{every:,.0f} x infer"],
    ]
    table(["what", "median", ""], rows)


if __name__ == "__main__":
    main()
