"""The end of the story: a language model that answers the same question differently for different strangers."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tacit.choices.table import ChoiceTable
from tacit.engines import Sampling, TransformersEngine, load_base, requests
from tacit.events import Listener, counting
from tacit.policies import PolicyTrainingConfig, best_of, fit_policy
from tacit.steering import PolicyConfig, SteerablePolicy
from tacit.users import User
from tacit.workflows.demo import Person, TextDemo
from tacit.workflows.reward import training_parts
from tacit.worlds.text.base_model import text_base

__all__ = ["ANSWERS", "Answered", "PolicyDemo", "policy_config", "policy_demo", "policy_training"]

POINTS, ANSWERS = 11, 4


def policy_config() -> PolicyConfig:
    """What suits the text world's base."""
    return PolicyConfig.model_validate({"modulator": {"rank": 32, "blocks": (-2, -1)}})


def policy_training(*, seed: int = 0, max_steps: int = 200, eval_users: int = 32) -> PolicyTrainingConfig:
    """Taught by the reward model, validated at the end: it gets better as long as it is trained."""
    return PolicyTrainingConfig(
        teacher="reward", compared=16, beta=0.3, sft_weight=3.0, learning_rate=2e-3, per_device_train_batch_size=32,
        max_context=64, seed=seed, max_steps=max_steps, eval_users=eval_users, eval_steps=max_steps,
    )  # fmt: skip


@dataclass(frozen=True)
class Answered:
    """A person and what the policy now answers them.

    Attributes:
        answer: to `person.question`, written for them: of `ANSWERS`, the one that their own reward ranks first.
        gold, unsteered: what answers to new questions are worth to them in nats, of the policy and of the base.
    """

    person: Person
    answer: str
    gold: float
    unsteered: float


@dataclass(frozen=True)
class PolicyDemo:
    """The policy's half of the demo.

    Attributes:
        stranger, base: what the policy answers somebody of whom nothing is known, and what the base does, drawn once.
        continuum: by point between the first two people (0 the first): the point, and what answers are worth to both.
        validation: implicit-reward accuracies on people and questions not trained on.
    """

    answered: tuple[Answered, ...]
    base: str
    stranger: str
    continuum: tuple[tuple[float, ...], ...]
    validation: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "question": self.answered[0].person.question,
            "base": self.base,
            "stranger": self.stranger,
            "people": [
                {
                    "user_id": each.person.user_id, "wants": each.person.wants, "answer": each.answer,
                    "gold": each.gold, "unsteered": each.unsteered,
                }
                for each in self.answered
            ],
            "continuum": [{"mix": t, "first": a, "second": b} for t, a, b in self.continuum],
            "validation": self.validation,
        }  # fmt: skip


def policy_demo(
    story: TextDemo,
    seed: int = 0,
    *,
    steps: int = 100,
    questions: int = 12,
    on_event: Listener | None = None,
) -> PolicyDemo:
    """Train a policy on the story's people, let it answer the three strangers, and walk from one to another.

    Args:
        story: from `text_demo`; its reward model turns choices into z.
        seed: fixes training and sampling.
        steps: optimiser steps.
        questions: new questions on which answers are judged, `ANSWERS` to each.
        on_event: receives training events.
    """
    parts, base = training_parts(story.known, seed), load_base(str(text_base()))
    with tempfile.TemporaryDirectory() as folder:
        policy = fit_policy(
            base, story.trained.model, story.known.item_texts(), story.known_vectors, parts.train, parts.validation,
            folder=Path(folder), target_groups=parts.target_groups, config=policy_config(),
            training=policy_training(seed=seed, max_steps=steps, eval_users=24), on_event=on_event,
        )  # fmt: skip
    with TransformersEngine(base, policy) as engine:
        return _answered(story, engine, policy, seed, questions, on_event)


def _answered(
    story: TextDemo,
    engine: TransformersEngine,
    policy: SteerablePolicy,
    seed: int,
    questions: int,
    on_event: Listener | None,
) -> PolicyDemo:
    tables = [ChoiceTable.from_choices(list(person.choices), source=person.user_id) for person in story.people]
    users = [policy.reward.user(table) for table in tables]
    states = [user.state for user in users]
    question = story.people[0].question
    sampling = Sampling(max_new_tokens=320, seed=seed, top_p=0.9, within_base=True, samples=ANSWERS)
    asked = [prompt for prompt in story.new_questions if prompt != question][:questions]
    tastes = story.world.weights[[int(person.user_id.removeprefix("user-")) for person in story.people]]

    walk = [t / (POINTS - 1) for t in range(POINTS)]
    told, worths = counting(on_event, "answering new questions"), 0

    def worth(z: Tensor | None) -> list[float]:
        """Mean true reward of answers to the questions, for every person."""
        nonlocal worths
        worths += 1
        if told is not None:
            told(worths, 1 + len(states) + len(walk))
        answers = engine.generate(requests(asked, z, sampling))
        seen = torch.cat([
            story.world.measure(q, [answer.text for answer in said]) for q, said in zip(asked, answers, strict=True)
        ])  # fmt: skip
        return (seen.mean(0) @ tastes.T).tolist()

    def answer(z: Tensor | None) -> str:
        one = sampling.model_copy(update={"samples": 1})
        return engine.generate(requests([question], z, one))[0][0].text

    def best(user: User) -> str:
        return best_of(engine, [user], [question], sampling, z=policy.latents(user.state))[0].answers[0]

    plain, steered = worth(None), [worth(policy.latents(state)) for state in states]
    return PolicyDemo(
        answered=tuple(
            Answered(person, best(user), own[place], plain[place])
            for place, (person, user, own) in enumerate(zip(story.people, users, steered, strict=True))
        ),
        base=answer(None),
        stranger=answer(policy.latents(policy.reward.prior())),
        continuum=tuple((t, *worth(policy.mix(states[0], states[1], t))[:2]) for t in walk),
        validation={k.removeprefix("validation_"): v for k, v in policy.notes.items() if k.startswith("validation_")},
    )
