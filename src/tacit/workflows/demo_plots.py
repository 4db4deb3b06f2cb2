"""The picture of three people: one question, the same answers, three orders."""

import textwrap
from collections.abc import Sequence
from os import PathLike

import torch

from tacit.evaluation.canvas import GRID, INK, MUTED, STYLES, new_figure, plain_axes, save_figure
from tacit.workflows.demo import Person
from tacit.workflows.policy_demo import PolicyDemo

__all__ = ["plot_continuum", "plot_people"]


def plot_people(path: str | PathLike[str], people: Sequence[Person]) -> None:
    """Inferred reward of each answer (bars) beside the true one (marks), one panel a person, centred over answers."""
    answers = people[0].answers
    figure = new_figure(4.6 + 2.3 * len(people), 1.6 + 0.5 * len(answers))
    place = torch.arange(len(answers)).numpy()
    first = None
    for column, person in enumerate(people):
        axes = plain_axes(figure.add_subplot(1, len(people), column + 1, sharey=first))
        first = first or axes
        inferred, true = (torch.tensor(values) for values in (person.scores, person.true_scores))
        colour = STYLES[column][0]
        axes.barh(place, (inferred - inferred.mean()).numpy(), color=colour, alpha=0.75, height=0.62, label="inferred")
        axes.plot((true - true.mean()).numpy(), place, "D", color=INK, markersize=4.5, linestyle="none", label="true")
        axes.axvline(0, color=MUTED, linewidth=0.8)
        axes.grid(axis="x", color=GRID, linewidth=0.8)
        axes.set_title("\n".join(textwrap.wrap(person.wants, 30)), loc="left", fontsize=9.5, color=INK)
        axes.set_xlabel("reward, nats", color=INK)
        axes.tick_params(labelleft=column == 0)
    assert first is not None
    first.set_yticks(place, [textwrap.shorten(a, 44, placeholder=" ...") for a in answers])
    first.invert_yaxis()
    handles, labels = first.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=2, frameon=False, fontsize=9, labelcolor=INK)
    title = f'"{people[0].question}" The same answers, ranked for three strangers from ten choices each'
    figure.suptitle("\n".join(textwrap.wrap(title, 95)), x=0.01, ha="left", fontsize=11, color=INK)
    save_figure(figure, path)


def plot_continuum(path: str | PathLike[str], policy: PolicyDemo) -> None:
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
