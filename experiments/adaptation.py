"""Adapting to one user: how long until the model knows you, whatever you have chosen before.

    python experiments/adaptation.py [--out adaptation.json] [--fast]

- One new user with k = 10 choices whose item vectors are known: `model.infer`, and the first `model.score` after it,
  where the posterior is found; one call at a time.
- One more choice by `model.update`, for users with 10, 100 and 1 000 choices behind them: time must not depend on it;
  and the same with the posterior found.
- 10 000 users in one call.
- Against the published procedures for a new user, on features computed beforehand: LoRe's 500 Adam steps on w in R^B,
  r = softmax(w) . V e, and PReF's 5 000 gradient steps on u in R^B, r = u . A e; as one writes them with autograd, and
  as `tacit.baselines` has them (the same steps with hand-written gradients). Once for one user, and once for all users
  at a time.

The model has tacit's default sizes over 384-dimensional items and random weights: the time does not depend on them.
"""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from _report import alternate, finish, machine, median, parser, percentile, ratio, table
from tacit.baselines.adaptive import AdaptiveNetwork
from tacit.baselines.lore import LoReConfig, LoReNetwork
from tacit.baselines.pref import PReFConfig, PReFNetwork
from tacit.choices.choice import item_key
from tacit.episodes import ChoiceBatch
from tacit.rewards import RewardConfig, RewardModel
from tacit.rewards.network import RewardNetwork

DIM, K = 384, 10
BASIS = RewardConfig().latent  # as many weights per user as our z has
HISTORIES = (10, 100, 1000)
LORE_STEPS, PREF_STEPS = 500, 5000


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
    added = each(lambda: model.posterior(model.update(states[K], more)), options.calls)
    updates = interleaved({str(k): lambda s=s: model.update(s, more) for k, s in states.items()}, options.calls)

    everyone = choices(options.users, K, generator)
    basis = torch.randn(DIM, BASIS, generator=generator) / DIM**0.5
    item = one.vectors[0, 0]
    peers: dict[str, AdaptiveNetwork] = {
        "LoRe": LoReNetwork(DIM, LoReConfig(rank=BASIS)),
        "PReF": PReFNetwork(DIM, PReFConfig(rank=BASIS)),
    }
    published = {"LoRe": lore_weights, "PReF": pref_weights}
    arms = {
        "ours, one user": lambda: median(each(lambda: model.score(model.infer(one), item), 50)),
        "ours, all users": lambda: seconds(lambda: model.posterior(model.infer(everyone))),
    }
    for name, network in peers.items():
        arms[f"{name}, one user"] = lambda name=name: seconds(lambda: published[name](gaps(one, basis)))
        arms[f"{name}, one user, by hand"] = lambda network=network: seconds(lambda: without_gradients(network, one))
        arms[f"{name}, all users"] = lambda name=name: seconds(lambda: published[name](gaps(everyone, basis)))
    for name, arm in arms.items():
        if "one user" in name:
            arm()  # first imports
    spent = alternate(arms, options.repeats)
    result: dict[str, Any] = {
        "machine": machine() | {"threads": 1},
        "fast": options.fast,
        "model": {"dim": DIM, "latent": model.network.encoder.latent, "weights": "random, default sizes"},
        "infer_milliseconds": {"p50": 1e3 * median(infer), "p95": 1e3 * percentile(infer, 0.95), "k": K},
        "update_milliseconds_p50": {k: 1e3 * median(values) for k, values in updates.items()},
        "update_and_posterior_milliseconds_p50": 1e3 * median(added),
        "infer_and_score_milliseconds": 1e3 * median(spent["ours, one user"]),
        "users_per_second": options.users / median(spent["ours, all users"]),
        "peers": {
            arm: {
                "milliseconds": 1e3 * median(spent[arm]),
                "ratio": ratio(spent[arm], spent["ours, all users" if "all" in arm else "ours, one user"]),
            }
            for arm in arms
            if not arm.startswith("ours")
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
    keys = tuple(tuple(item_key("", f"{u} {j}").hex()[:16] for j in range(k)) for u in range(users))
    return ChoiceBatch(batch.vectors, batch.rank, batch.weight, None, keys)


def gaps(batch: ChoiceBatch, basis: Tensor) -> Tensor:
    """Basis features of winner minus loser: Float[users choices basis]."""
    return (batch.vectors[:, :, 0] - batch.vectors[:, :, 1]) @ basis


def lore_weights(gap: Tensor) -> Tensor:
    """LoRe's w, Float[users basis], by Adam on the pairs' negative log-likelihood (users share nothing)."""
    weights = torch.zeros(gap.shape[0], gap.shape[2], requires_grad=True)
    optimizer = torch.optim.Adam([weights], lr=0.1, fused=True)
    for _ in range(LORE_STEPS):
        optimizer.zero_grad(set_to_none=True)
        (-logsigmoid(torch.einsum("ukb,ub->uk", gap, weights.softmax(-1))).mean(1).sum()).backward()
        optimizer.step()
    return weights.detach()


def pref_weights(gap: Tensor) -> Tensor:
    """PReF's u, Float[users basis], by plain gradient steps on the same."""
    weights = torch.zeros(gap.shape[0], gap.shape[2], requires_grad=True)
    optimizer = torch.optim.SGD([weights], lr=0.01)
    for _ in range(PREF_STEPS):
        optimizer.zero_grad(set_to_none=True)
        (-logsigmoid(torch.einsum("ukb,ub->uk", gap, weights)).mean(1).sum()).backward()
        optimizer.step()
    return weights.detach()


@torch.no_grad()
def without_gradients(network: AdaptiveNetwork, batch: ChoiceBatch) -> object:
    """The same steps as `tacit.baselines` takes them."""
    return network.posterior(batch)


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
    infer = result["infer_milliseconds"]
    rows: list[list[object]] = [
        [f"infer, one user, k = {K}", f"{infer['p50']:.3f} ms", f"p95 {infer['p95']:.3f} ms"],
        ["infer and first score, one user", f"{result['infer_and_score_milliseconds']:.3f} ms", ""],
    ]
    for k, value in result["update_milliseconds_p50"].items():
        rows.append([f"update, {k} choices behind", f"{value:.3f} ms", ""])
    rows.append(["update and posterior, 10 behind", f"{result['update_and_posterior_milliseconds_p50']:.3f} ms", ""])
    rows.append([f"infer and posterior, {result['users']:,} users", f"{result['users_per_second']:,.0f} users/s", ""])
    for arm, found in result["peers"].items():
        rows.append([arm, f"{found['milliseconds']:,.1f} ms", f"{found['ratio']['of_medians']:,.0f} x ours"])
    table(["what", "median", ""], rows)


if __name__ == "__main__":
    main()
