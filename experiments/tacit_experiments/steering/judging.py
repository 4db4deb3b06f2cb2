"""What answers are worth to the people who asked, and what they cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tacit.engines import TransformersEngine
from tacit.worlds.text import ATTRIBUTES
from tacit.worlds.text.reader import read_answer
from tacit_experiments.steering.outcomes import Health, answers_for, language_health
from tacit_experiments.steering.world import SteeringWorld

__all__ = ["Outcome", "directions", "generated", "judged"]


@dataclass(frozen=True)
class Outcome:
    """What came of one method at one k.

    Shapes:
        gold: Float32[users questions], true reward of each answer in nats.
        words: Float32[users questions].
        attributes: Float32[users attributes], means over a user's answers, standardised.
        apart: mean of log policy - log base over answers in nats: how far the policy went to write them.
        malformed: share of sentences that the world's writer would not have written.
    """

    gold: Tensor
    words: Tensor
    attributes: Tensor
    apart: float
    health: Health
    malformed: float
    answers: list[list[str]]


def generated(
    world: SteeringWorld,
    engine: TransformersEngine,
    z: Tensor | None,
    prompts: Sequence[Sequence[str]] | None = None,
    **changed: Any,
) -> Outcome:
    """Answers to the judges' questions (or to `prompts`, in which these are put) as z says; None: the base's own.

    `changed` are settings of sampling.
    """
    sampling = world.setting.sampling.model_copy(update={"seed": 1000 * world.seed, **changed})
    return judged(world, engine, answers_for(engine, prompts or world.questions, z, sampling), z)


def judged(
    world: SteeringWorld, engine: TransformersEngine, answers: Sequence[Sequence[str]], z: Tensor | None = None
) -> Outcome:
    """Answers to the judges' questions, [users questions], however they were written."""
    flat = [(question, answer) for asked, said in zip(world.questions, answers, strict=True)
            for question, answer in zip(asked, said, strict=True)]  # fmt: skip
    attributes = torch.cat([world.world.measure(question, [answer]) for question, answer in flat])
    attributes = attributes.view(len(answers), -1, len(ATTRIBUTES))
    readings = [read_answer(question, answer) for question, answer in flat]
    sentences = sum(r.malformed + r.found.get("statement", 0) + _devices(r.found) for r in readings)
    return Outcome(
        gold=torch.einsum("uqa,ua->uq", attributes, world.tastes),
        words=torch.tensor([len(answer.split()) for _, answer in flat]).float().view(len(answers), -1),
        attributes=attributes.mean(1),
        apart=0.0 if z is None else _apart(engine, flat, z.repeat_interleave(len(flat) // len(answers), 0)),
        health=language_health(engine, [question for question, _ in flat], [answer for _, answer in flat]),
        malformed=sum(r.malformed for r in readings) / max(1, sentences),
        answers=[list(said) for said in answers],
    )


def directions(world: SteeringWorld, steered: Outcome, plain: Outcome) -> dict[str, float]:
    """By attribute and sign, how far answers move that way for the people who want it most (half of the norm)."""
    unit = world.tastes / world.tastes.norm(dim=1, keepdim=True)
    moved = steered.attributes - plain.attributes
    found = {}
    for place, name in enumerate(ATTRIBUTES):
        for sign, word in ((1, "more"), (-1, "less")):
            who = sign * unit[:, place] > 0.5
            if who.any():
                found[f"{word} {name}"] = float(sign * moved[who, place].mean())
    return found


def _apart(engine: TransformersEngine, items: Sequence[tuple[str, str]], z: Tensor) -> float:
    written = [number for number, (_, answer) in enumerate(items) if answer.strip()]
    total = 0.0
    for some in torch.tensor(written).split(64):
        chosen = [items[number] for number in some.tolist()]
        total += float((engine.log_probs(chosen, z[some]) - engine.log_probs(chosen, None)).double().sum())
    return total / max(1, len(written))


def _devices(found: Mapping[str, int]) -> int:
    whole = ("opener", "closer", "aside", "joke", "joke_tag", "thorough")
    return sum(count for name, count in found.items() if name.endswith(whole))
