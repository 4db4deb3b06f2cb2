"""Pictures of the 1-D experiment and of the demo."""

import re
import textwrap
from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING

import torch
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from torch import Tensor

from tacit.evaluation import Summary, evaluation_episodes, plot_accuracy
from tacit.evaluation.plots import GRID, INK, MUTED, STYLES, new_figure, plain_axes, save_figure
from tacit.worlds.piecewise import piecewise_reward

if TYPE_CHECKING:
    from tacit.workflows.demo import Person
    from tacit.workflows.policy_demo import PolicyDemo
    from tacit.workflows.synthetic import SyntheticResult, SyntheticRun

__all__ = ["LABELS", "plot_continuum", "plot_people", "plot_reward_curves", "plot_synthetic_accuracy", "reward_curves"]

LABELS = {
    "np_btl": "NP-BTL",
    "np_btl_deterministic": "NP-BTL, deterministic",
    "np_btl_elbo": "NP-BTL, ELBO",
    "btl": "BTL, pooled",
    "dpl": "DPL",
}


def plot_synthetic_accuracy(path: str | PathLike[str], result: "SyntheticResult") -> None:
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
    run: "SyntheticRun", method: str, *, k: int, users: int = 12, points: int = 401
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


def plot_reward_curves(path: str | PathLike[str], run: "SyntheticRun", method: str = "np_btl", *, k: int = 10) -> None:
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


def plot_people(path: str | PathLike[str], people: Sequence["Person"]) -> None:
    """Five answers in whole sentences; beside each its inferred (bar) and true reward (mark), one panel a person.

    Rewards are centred over all of the person's answers, and one scale holds for all panels.
    """
    shown = _telling(people)
    figure = new_figure(12.6, 1.7 + 1.05 * len(shown))
    grid = figure.add_gridspec(1, 1 + len(people), width_ratios=[2.3, *(1 for _ in people)])
    place = list(range(len(shown)))
    first = texts = plain_axes(figure.add_subplot(grid[0]))
    texts.set(xlim=(0, 1), xticks=[], yticks=[], ylim=(len(shown) - 0.5, -0.5))
    texts.spines[:].set_visible(False)
    for row, answer in enumerate(shown):
        said = textwrap.fill(_sentences(people[0].answers[answer]), 76)
        texts.text(0, row, said, fontsize=8.8, color=INK, va="center", linespacing=1.25)
    for column, person in enumerate(people):
        scale = None if first is texts else first
        axes = plain_axes(figure.add_subplot(grid[1 + column], sharey=texts, sharex=scale))
        first = axes if scale is None else first
        inferred, true = (torch.tensor(values) for values in (person.scores, person.true_scores))
        bars, marks = ((each - each.mean())[shown].tolist() for each in (inferred, true))
        axes.barh(place, bars, color=STYLES[column][0], alpha=0.75, height=0.5)
        axes.plot(marks, place, "D", color=INK, markersize=5.5, linestyle="none")
        axes.axvline(0, color=MUTED, linewidth=0.8)
        axes.grid(axis="x", color=GRID, linewidth=0.8)
        axes.tick_params(left=False, labelleft=False)
        axes.set_title("\n".join(textwrap.wrap(person.wants, 26)), loc="left", fontsize=10.5, color=INK)
        axes.set_xlabel("reward, nats", color=INK)
    grey = [Patch(color=MUTED, alpha=0.75), Line2D([], [], marker="D", color=INK, markersize=5.5, linestyle="none")]
    figure.legend(
        grey, ["inferred from ten choices", "true"], loc="outside lower left", ncols=2, frameon=False, fontsize=9.5,
        labelcolor=INK,
    )  # fmt: skip
    title = f'"{people[0].question}" The same answers, for three strangers'
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, color=INK)
    save_figure(figure, path)


def _telling(people: Sequence["Person"], count: int = 5) -> list[int]:
    """The answers that somebody is thought to like most or least, in the first person's order."""
    orders = [sorted(range(len(each.scores)), key=each.scores.__getitem__) for each in people]
    found: dict[int, None] = {}
    for place in range(len(orders[0])):
        for order in orders:
            found.update(dict.fromkeys((order[-1 - place], order[place])))
    some = list(found)[:count]
    return sorted(some, key=lambda answer: -people[0].scores[answer])


def _sentences(text: str, most: int = 420) -> str:
    """The whole sentences at a text's beginning that `most` characters hold, at least one."""
    sentences = re.split(r"(?<=[.!?]) ", text)
    kept = sentences[0]
    for sentence in sentences[1:]:
        if len(kept) + 1 + len(sentence) > most:
            return f"{kept} ..."
        kept = f"{kept} {sentence}"
    return kept


def plot_continuum(path: str | PathLike[str], policy: "PolicyDemo") -> None:
    """True reward of two people for answers written for somebody between them: one falls, the other rises."""
    figure = new_figure(7.2, 4.2)
    axes = plain_axes(figure.add_subplot())
    share = [point[0] for point in policy.continuum]
    for place, each in enumerate(policy.answered[:2]):
        (colour, marker), worth = STYLES[place], [point[1 + place] for point in policy.continuum]
        axes.plot(share, worth, color=colour, marker=marker, markersize=5, label=f"who {each.person.wants}")
        axes.axhline(each.unsteered, color=colour, linewidth=0.9, linestyle="--")
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_xlabel("how far from the first person to the second", color=INK)
    axes.set_ylabel("true reward of answers, nats", color=INK)
    figure.legend(loc="outside lower left", ncols=1, frameon=False, fontsize=9, labelcolor=INK)
    title = "Answers to new questions, written for somebody between two strangers (dashed: the base)"
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, color=INK)
    save_figure(figure, path)
