"""Pictures of the 1-D experiment: accuracy against the Bayes-optimal line, learnt rewards beside the true ones."""

from os import PathLike

import torch
from torch import Tensor

from tacit.evaluation import Summary, evaluation_episodes, plot_accuracy
from tacit.evaluation.canvas import GRID, INK, MUTED, STYLES, new_figure, plain_axes, save_figure
from tacit.workflows.synthetic import SyntheticResult, SyntheticRun
from tacit.worlds.piecewise import piecewise_reward

__all__ = ["LABELS", "plot_reward_curves", "plot_synthetic_accuracy", "reward_curves"]

LABELS = {
    "np_btl": "NP-BTL",
    "np_btl_deterministic": "NP-BTL, deterministic",
    "np_btl_elbo": "NP-BTL, ELBO",
    "btl": "BTL, pooled",
    "dpl": "DPL",
}


def plot_synthetic_accuracy(path: str | PathLike[str], result: SyntheticResult) -> None:
    """Accuracy by k of every method, mean over seeds, with the Bayes-optimal line."""
    methods = {LABELS[m]: Summary({"accuracy": result.accuracy(m)}) for m in result.runs[0].reports}
    seeds = "seed" if len(result.runs) == 1 else "seeds"
    plot_accuracy(
        path,
        methods,
        reference={"Bayes-optimal": result.bayes_optimal()},
        title=f"Accuracy on unseen pairs of unseen users ({len(result.runs)} {seeds})",
    )


def reward_curves(
    run: SyntheticRun, method: str, *, k: int, users: int = 12, points: int = 401
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Learnt and true rewards over a grid for the first test users after k choices each.

    Noise-free choices reveal the order of items and nothing else, so a reward is shown as the share of items it beats.

    Returns:
        grid Float[points], user types Int64[users], learnt Float[users points], true Float[users points].
    """
    grid = torch.linspace(0, 1, points)
    episodes = evaluation_episodes(run.world.test.index.of_users(torch.arange(users)), max_k=k, seed=run.seed)
    state = run.models[method].infer(episodes.context_batch(torch.arange(users), k, run.world.vectors))
    kind = run.world.test.kind[:users]
    learnt = run.models[method].score(state, grid.unsqueeze(1))
    return grid, kind, _share_beaten(learnt), _share_beaten(piecewise_reward(grid, kind.unsqueeze(1)))


def _share_beaten(rewards: Tensor) -> Tensor:
    below = (rewards.unsqueeze(-2) < rewards.unsqueeze(-1)).float().mean(-1)
    equal = (rewards.unsqueeze(-2) == rewards.unsqueeze(-1)).float().mean(-1)
    return below + 0.5 * equal


def plot_reward_curves(path: str | PathLike[str], run: SyntheticRun, method: str = "np_btl", *, k: int = 10) -> None:
    """One panel per user type: what was learnt of twelve unseen users from k choices, and the truth."""
    grid, kind, learnt, true = reward_curves(run, method, k=k)
    figure = new_figure(8.4, 3.9)
    for place in (0, 1):
        axes = plain_axes(figure.add_subplot(1, 2, place + 1))
        colour = STYLES[place][0]
        for curve in learnt[kind == place]:
            axes.plot(grid, curve, color=colour, linewidth=3.2, alpha=0.35)
        axes.plot(
            [], [], color=colour, linewidth=3.2, alpha=0.7, label=f"learnt, {int((kind == place).sum())} users, k = {k}"
        )
        axes.plot(grid, true[kind == place][0], color=INK, linewidth=1.2, linestyle=(0, (4, 3)), label="true")
        axes.grid(axis="y", color=GRID, linewidth=0.8)
        axes.set_title(f"user type {place}", loc="left", fontsize=11, color=INK)
        axes.set_xlabel("item y", color=INK)
        if place == 0:
            axes.set_ylabel("reward: share of items beaten", color=INK)
        axes.legend(frameon=False, fontsize=9, labelcolor=INK, loc="upper left" if place == 0 else "lower center")
        axes.axvline(0.5, color=MUTED, linewidth=0.6, linestyle=":")
    figure.suptitle("Rewards inferred for users nobody has seen", x=0.01, ha="left", fontsize=12, color=INK)
    save_figure(figure, path)
