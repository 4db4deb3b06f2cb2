"""The paper's 1-D experiment: NP-BTL, BTL and DPL against the Bayes-optimal line, on unseen users and unseen pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from tacit.baselines.dpl import DPL
from tacit.baselines.pooled import PooledBTL
from tacit.evaluation import Report, evaluate
from tacit.events import Listener
from tacit.rewards.config import RewardConfig
from tacit.rewards.fit import fit_reward
from tacit.rewards.model import RewardModel
from tacit.training.config import ObjectiveConfig, TrainingConfig
from tacit.worlds.piecewise import PiecewiseWorld, bayes_optimal_accuracy

__all__ = ["KS", "METHODS", "SyntheticResult", "SyntheticRun", "synthetic_configs", "synthetic_experiment"]

KS = (0, 1, 3, 5, 10, 50)
"""Up to the trained k = 10, and five times beyond it."""

METHODS = ("np_btl", "np_btl_deterministic", "np_btl_elbo", "btl", "dpl")


@dataclass(frozen=True)
class SyntheticRun:
    """One seed: the world, the trained models, how long training took, and the evaluation of each."""

    seed: int
    world: PiecewiseWorld
    models: dict[str, RewardModel]
    seconds: dict[str, float]
    reports: dict[str, Report]

    @property
    def bayes_optimal(self) -> dict[int, float]:
        """The line no method can beat on this world's test pairs."""
        return {k: bayes_optimal_accuracy(self.world.test.disagreement, k) for k in KS}


@dataclass(frozen=True)
class SyntheticResult:
    """All seeds."""

    runs: tuple[SyntheticRun, ...]

    def bayes_optimal(self) -> dict[int, float]:
        """Mean over seeds of the Bayes-optimal line."""
        return {k: fmean(run.bayes_optimal[k] for run in self.runs) for k in KS}

    def accuracy(self, method: str) -> dict[int, float]:
        """Mean over seeds of a method's accuracy by k."""
        return {k: fmean(run.reports[method].model["accuracy"][k] for run in self.runs) for k in KS}

    def to_json(self) -> dict[str, Any]:
        """Accuracies as fractions, and what each seed gave."""
        bayes = self.bayes_optimal()
        methods = {}
        for method in self.runs[0].reports:
            accuracy = self.accuracy(method)
            methods[method] = {
                "accuracy": {str(k): accuracy[k] for k in KS},
                "gap_to_bayes": {str(k): bayes[k] - accuracy[k] for k in KS},
                "train_seconds": [run.seconds[method] for run in self.runs],
                "by_seed": {
                    str(run.seed): {str(k): run.reports[method].model["accuracy"][k] for k in KS} for run in self.runs
                },
            }
        n_users = next(iter(self.runs[0].reports.values())).n_users
        return {
            "bayes_optimal": {str(k): bayes[k] for k in KS},
            "methods": methods,
            "seeds": [run.seed for run in self.runs],
            "n_users": {str(k): n for k, n in n_users.items()},
        }


def synthetic_configs(seed: int, *, steps: int | None = None) -> dict[str, tuple[RewardConfig, TrainingConfig]]:
    """Architecture and training of each method, chosen on the worlds of seeds 0 and 1; other seeds are fresh worlds."""
    encoder = {"kind": "additive", "evidence": "network", "hidden": (64, 64, 64)}
    common = {"latent": 2, "head": {"hidden": (64, 64)}, "dropout": 0.0}
    reward = RewardConfig.model_validate({"encoder": encoder, **common})
    sure = RewardConfig.model_validate({"encoder": {**encoder, "variational": False}, **common})
    training = TrainingConfig(
        seed=seed, steps=steps or 2000, users_per_batch=256, max_context=10, targets=4, learning_rate=5e-3,
        weight_decay=0.0, validate_every=250, patience=0, objective=ObjectiveConfig(samples=4),
    )  # fmt: skip
    elbo = training.model_copy(update={"objective": ObjectiveConfig(kind="elbo", samples=4)})
    short = training.model_copy(update={"steps": max(1, training.steps // 4)})
    return {
        "np_btl": (reward, training),
        "np_btl_deterministic": (sure, training),
        "np_btl_elbo": (reward, elbo),
        "btl": (reward, short),
        "dpl": (reward, short),
    }


def synthetic_experiment(
    seeds: Sequence[int],
    *,
    methods: Sequence[str] = METHODS,
    steps: int | None = None,
    test_users: int = 12_000,
    on_event: Listener | None = None,
) -> SyntheticResult:
    """Train and evaluate each method on each seed's world.

    Args:
        seeds: one world, one training per method and one evaluation each.
        methods: some of `METHODS`.
        steps: optimiser steps of the NP-BTL variants; None = as tuned.
        test_users: many, because a tenth of a point is to be seen.
        on_event: receives training events.
    """
    return SyntheticResult(tuple(_run(seed, methods, steps, test_users, on_event) for seed in seeds))


def _run(
    seed: int, methods: Sequence[str], steps: int | None, test_users: int, on_event: Listener | None
) -> SyntheticRun:
    world = PiecewiseWorld.generate(seed, users=(4000, 500, test_users), choices=(60, 60, 150))
    configs = synthetic_configs(seed, steps=steps)
    models, seconds, reports = {}, {}, {}
    for method in methods:
        reward, training = configs[method]
        fit = {"btl": PooledBTL.fit, "dpl": DPL.fit}.get(method, fit_reward)
        model = fit(
            world.train.index, world.vectors, validation=world.validation.index, config=reward, training=training,
            name=f"{method}, seed {seed}", on_event=on_event,
        )  # fmt: skip
        models[method], seconds[method] = model, model.notes["seconds"]
        reports[method] = evaluate(
            model,
            world.test.index,
            world.vectors,
            ks=KS,
            seed=seed,
            target_groups=world.balanced_targets(),
            resamples=100,
            users_per_chunk=2000,
        )
    return SyntheticRun(seed, world, models, seconds, reports)
