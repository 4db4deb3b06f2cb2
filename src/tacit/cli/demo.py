"""`tacit demo`: the whole story on simulated people."""

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType
from rich.panel import Panel
from rich.table import Table

from tacit.cli._options import Out, Seed
from tacit.cli._paths import Overwrite, prepare_out
from tacit.cli._progress import progress
from tacit.cli._result import Result
from tacit.cli.synthetic import synthetic_table
from tacit.files import fill_folder, write_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tacit.workflows.demo import Person, TextDemo
    from tacit.workflows.policy_demo import PolicyDemo

__all__ = ["EXAMPLE", "demo"]

EXAMPLE = "tacit demo --out demo/"
CHOICES_TOLD = 2
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def demo(
    out: Out = Path("demo"),
    fast: Annotated[bool, typer.Option("--fast", help="Smaller worlds and shorter training, under a minute.")] = False,
    embedder: Annotated[
        str,
        typer.Option("--embedder", help="How answers are read: hash (no model, same numbers everywhere) or minilm."),
    ] = "hash",
    overwrite: Overwrite = False,
    seed: Seed = 0,
) -> Result:
    """Two experiments and three people: what a handful of choices buys, on the CPU, with no data needed."""
    out = prepare_out(out, own="results.json", overwrite=overwrite)
    from tacit.evaluation import plot_accuracy, plot_reliability
    from tacit.workflows.demo import CHOICES_SHOWN, text_demo
    from tacit.workflows.plots import plot_continuum, plot_people, plot_reward_curves, plot_synthetic_accuracy
    from tacit.workflows.policy_demo import ANSWERS, policy_demo
    from tacit.workflows.synthetic import synthetic_experiment

    with progress("demo") as report:
        synthetic = synthetic_experiment(
            [seed], methods=("np_btl", "btl"), steps=300 if fast else None, test_users=1000 if fast else 4000,
            on_event=report.event,
        )  # fmt: skip
        size: dict[str, int] = {"users": 500, "steps": 200} if fast else {}
        story = text_demo(seed, embedder=embedder, on_event=report.event, **size)
        policy = policy_demo(story, seed, on_event=report.event, **({"steps": 20, "questions": 2} if fast else {}))
    oracle = {"told the truth": dict.fromkeys(story.report.n_users, story.oracle_accuracy)}
    title = "Strangers and new questions: accuracy of predicted choices"
    data: dict[str, Any] = {
        "synthetic": synthetic.to_json(),
        "text": story.report.to_json() | {"oracle_accuracy": story.oracle_accuracy},
        "people": [person.to_json() for person in story.people],
        "policy": policy.to_json(),
    }
    with fill_folder(out, last="results.json") as new:
        plot_synthetic_accuracy(new / "synthetic_accuracy.png", synthetic)
        plot_reward_curves(new / "synthetic_rewards.png", synthetic.runs[0])
        plot_accuracy(new / "text_accuracy.png", story.report.methods, reference=oracle, title=title)
        plot_reliability(new / "text_reliability.png", story.report.reliability, ece=story.report.model["ece"])
        plot_people(new / "people.png", story.people)
        plot_continuum(new / "continuum.png", policy)
        write_json(new / "results.json", data)
    view: list[RenderableType] = [
        "1. The paper's one-dimensional world: two kinds of users who disagree about half of the pairs.",
        synthetic_table(synthetic),
        "2. A world of answers in English: people differ in how they weigh length, warmth, hedging, humour, formality.",
        _text_table(story),
        f"3. Three strangers, {CHOICES_SHOWN} choices each, and the answers to one new question:",
        _question(story.people),
        *(_person(person) for person in story.people),
        "4. The same question, answered by a language model of half a million weights that follows the same state;"
        f" for the three people, of {ANSWERS} answers the one that their own reward ranks first.",
        *_answers(policy),
        f"pictures and numbers: {out}/",
    ]
    return Result(data, view)


def _text_table(story: "TextDemo") -> Table:
    from tacit.workflows.demo import KS

    n = max(story.report.n_users.values())
    table = Table(title=f"accuracy, %, on new questions, {n} people nobody has seen", title_justify="left")
    table.add_column("method", no_wrap=True)
    for k in KS:
        table.add_column(f"k = {k}", justify="right")
    for label, summary in story.report.methods.items():
        accuracy = summary["accuracy"]
        table.add_row(label, *(f"{100 * accuracy[k]:.1f}" if k in accuracy else "" for k in KS))
    table.add_row("told the truth", *(f"{100 * story.oracle_accuracy:.1f}" for _ in KS))
    return table


def _question(people: "Sequence[Person]") -> Panel:
    """The answers whose order the people are asked about, by letter."""
    return _panel(
        people[0].question, [f"{letter}: {said}" for letter, said in zip(_LETTERS, people[0].answers, strict=False)]
    )


def _person(person: "Person") -> Panel:
    """Choices made, and the answers in this person's order."""
    said = []
    for choice in person.choices[:CHOICES_TOLD]:
        said += [f"chose: {choice.responses[0]}", f"rather than: {choice.responses[1]}"]
    inferred, true = (_order(values) for values in (person.scores, person.true_scores))
    said.append(f"the order inferred: {inferred}\nthe true order:     {true}")
    said.append(f"predicted favourite, {inferred[0]}: {person.best()}")
    return _panel(f"{person.user_id} {person.wants}", said)


def _order(scores: "Sequence[float]") -> str:
    """The answers' letters, best first."""
    return " ".join(_LETTERS[i] for i in sorted(range(len(scores)), key=lambda i: -scores[i]))


def _answers(policy: "PolicyDemo") -> list[Panel]:
    """What the base, a stranger and each person get."""
    said = [("the base, before training", policy.base), ("a user without choices", policy.stranger)]
    said += [
        (f"{each.person.wants} (worth {each.unsteered:+.1f} nats before, {each.gold:+.1f} now)", each.answer)
        for each in policy.answered
    ]
    return [_panel(title, [text]) for title, text in said]


def _panel(title: str, texts: "Sequence[str]") -> Panel:
    """A box of paragraphs, wrapped here because the console wraps nothing."""
    wrapped = ("\n".join(textwrap.fill(line, 76) for line in text.splitlines()) for text in texts)
    return Panel("\n\n".join(wrapped), title=title, title_align="left", width=80)
