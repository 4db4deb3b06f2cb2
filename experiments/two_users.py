"""Two types of users: how many choices until a stranger's type is known?

    python experiments/two_users.py [--seeds 3] [--tuned tuned.json] [--out two_users.json] [--fast]

The text world `text-two` (warm and long against formal and short), new people on new prompts. A method that is told the
type gains some accuracy over one reward for everybody; the number asked for is the least k at which the method that is
told nothing has 95 % of that gain, between k's by a straight line, with a 95 % bootstrap interval over test users.

- ours: settings tuned on validation users (`tacit benchmark --tune`); told = one BTL per type, pooled = one BTL.
- Bayes observer: knows both types' true rewards and the noise, and updates a uniform prior over the two; told = the
  true reward of the user's type, pooled = the same observer at k = 0. Nobody can do better.

Both are asked the same questions after the same choices.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from _report import finish, machine, parser, table
from tacit.episodes import ChoiceBatch, step_generator
from tacit.evaluation import accuracy, evaluation_episodes, predict
from tacit.evaluation.benchmark.datasets import Sources
from tacit.evaluation.benchmark.methods import fit_method
from tacit.evaluation.benchmark.run import task_of
from tacit.evaluation.benchmark.task import Part, Task
from tacit.evaluation.benchmark.tuning import read_tuned
from tacit_experiments.datasets import TUNED

DATASET, SHARE, RESAMPLES = "text-two", 0.95, 1000
KS = tuple(range(21))


@dataclass(frozen=True)
class BayesObserver:
    """Knows the rewards of both types; an item's "vector" is its two rewards. Infers by Bayes' rule."""

    name: str = "bayes"

    def infer(self, choices: ChoiceBatch) -> Tensor:
        """P(type | choices): Float[users 2]."""
        gap = choices.vectors[:, :, 0] - choices.vectors[:, :, 1]
        return (logsigmoid(gap) * choices.weight.unsqueeze(-1)).sum(1).softmax(-1)

    def prefer(self, state: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """P(a over b): Float[users pairs]."""
        return ((a - b).sigmoid() * state.unsqueeze(1)).sum(-1)


@dataclass(frozen=True)
class Told(BayesObserver):
    """The same, told that everybody is of one type."""

    kind: int = 0

    def infer(self, choices: ChoiceBatch) -> Tensor:
        """Certainty: Float[users 2]."""
        state = torch.zeros(choices.n_users, 2)
        state[:, self.kind] = 1
        return state


def main() -> None:
    """Fit, ask, print the table, write JSON."""
    made = parser(__doc__)
    made.add_argument("--seeds", type=int, default=3)
    made.add_argument("--tuned", type=Path, default=TUNED, help="settings, a file of `tacit benchmark --tune`")
    made.add_argument("--cache", type=Path, default=None, help="folder that keeps item vectors")
    options = made.parse_args()
    torch.set_num_threads(1)
    settings = read_tuned(options.tuned)
    curves: dict[str, list[Tensor]] = {}
    for seed in range(options.seed, options.seed + (1 if options.fast else options.seeds)):
        task = task_of(DATASET, seed, Sources(None, options.cache))
        for name, found in {**fitted(task, settings, fast=options.fast), **observers(task)}.items():
            curves.setdefault(name, []).append(found)
    joined = {name: torch.cat(found, dim=1) for name, found in curves.items()}
    result: dict[str, Any] = {"machine": machine() | {"threads": 1}, "fast": options.fast, "ks": list(KS)}
    for name, told, pooled in (("ours", "oracle", "btl"), ("bayes", "told", "bayes")):
        result[name] = reach(joined[name], joined[told].mean(0), joined[pooled][0])
    report(result)
    finish(result, options.out)


def fitted(task: Task, settings: Any, *, fast: bool) -> dict[str, Tensor]:
    """Accuracy Float[ks users] of ours, of the pooled BTL, and of the BTL of the user's own type."""
    found = {}
    for label, name in (("ours", "np_btl"), ("btl", "btl"), ("oracle", "oracle")):
        chosen = dict(settings.of(task.name, name))
        if fast:
            chosen["training"] = {**chosen.get("training", {}), "steps": 50}
        seen = task.principal(chosen.get("principal"))
        model = fit_method(name, seen, chosen, task.seed)
        if name == "oracle":
            found[label] = of_own_type([ask(model.told(kind), seen, seen.vectors) for kind in range(2)], task.test)
        else:
            found[label] = ask(model, seen, seen.vectors)
    return found


def observers(task: Task) -> dict[str, Tensor]:
    """The same of the observer who knows both rewards, and of the one told the type besides."""
    types, truth = task.test.types, task.test.truth
    assert types is not None
    assert truth is not None
    rewards = torch.stack([truth[(types == kind).nonzero()[0, 0]] for kind in range(2)], dim=1)
    told = of_own_type([ask(Told(kind=kind), task, rewards) for kind in range(2)], task.test)
    return {"bayes": ask(BayesObserver(), task, rewards), "told": told}


def ask(model: Any, task: Task, vectors: Tensor) -> Tensor:
    """Accuracy Float[ks users] on the test users' targets."""
    part = task.test
    episodes = evaluation_episodes(part.index, max_k=max(KS), target_groups=part.targets, seed=task.seed)
    found = predict(model, episodes, vectors, KS, seed=task.seed)
    return accuracy(found.chosen["model"], found.real)


def of_own_type(by_kind: list[Tensor], part: Part) -> Tensor:
    """Float[ks users], each user's column from the model of the own type."""
    assert part.types is not None
    return torch.stack(by_kind)[part.types, :, torch.arange(len(part.types))].T


def reach(curve: Tensor, told: Tensor, pooled: Tensor) -> dict[str, Any]:
    """The least k with 95 % of the gain and its interval; accuracies Float[ks users], Float[users], Float[users]."""
    users = curve.shape[1]
    generator = step_generator(0, 501)
    drawn = [crossing(curve.mean(1), told.mean(), pooled.mean())]
    for _ in range(RESAMPLES):
        some = torch.randint(users, (users,), generator=generator)
        drawn.append(crossing(curve[:, some].mean(1), told[some].mean(), pooled[some].mean()))
    low, high = torch.tensor(drawn[1:]).quantile(torch.tensor([0.025, 0.975]), interpolation="nearest").tolist()
    return {
        "k": drawn[0], "interval": [low, high], "users": users, "accuracy": curve.mean(1).tolist(),
        "told": told.mean().item(), "pooled": pooled.mean().item(),
    }  # fmt: skip


def crossing(curve: Tensor, told: Tensor, pooled: Tensor) -> float:
    """Where the curve first reaches the share of the gain; infinity if it does not."""
    wanted = (pooled + SHARE * (told - pooled)).item()
    values = curve.tolist()
    for k, value in enumerate(values):
        if value >= wanted:
            before = values[k - 1] if k else value
            return float(k) if k == 0 else k - 1 + (wanted - before) / (value - before)
    return float("inf")


def report(result: dict[str, Any]) -> None:
    rows: list[list[object]] = []
    for name, label in (("ours", "ours"), ("bayes", "Bayes observer")):
        found = result[name]
        low, high = found["interval"]
        shown = [f"{100 * found['accuracy'][k]:.1f}" for k in (0, 1, 2, 3, 5, 10, 20)]
        rows.append([label, *shown, f"{100 * found['told']:.1f}", f"{found['k']:.1f}", f"{low:.1f} to {high:.1f}"])
    table(["", "k = 0", "1", "2", "3", "5", "10", "20", "told", "k at 95 % of the gain", "95 % interval"], rows)


if __name__ == "__main__":
    main()
