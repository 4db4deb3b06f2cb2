"""The whole story on simulated people: train once, meet strangers, adapt to each from a handful of choices."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tacit.choices.choice import Choice
from tacit.choices.splits import cut, split_groups, split_users
from tacit.choices.table import ChoiceTable
from tacit.embedders import resolve_embedder
from tacit.embedders.table import item_vectors
from tacit.episodes.from_table import choice_batch
from tacit.evaluation import Report, evaluate
from tacit.events import Listener
from tacit.training.config import TrainingConfig
from tacit.workflows.reward import TrainedReward, train_reward
from tacit.worlds.text import TextWorld

__all__ = ["CHOICES_SHOWN", "KS", "Person", "TextDemo", "text_demo"]

KS = (0, 1, 3, 5, 10, 20)
CHOICES_SHOWN, ANSWERS_SHOWN = 10, 8


@dataclass(frozen=True)
class Person:
    """A test user: what they chose, and how the answers to one new question rank for them.

    Attributes:
        wants: the hidden truth in words.
        choices: the choices the model saw.
        answers: the answers to `question`, in one order for everybody.
        scores: inferred reward of each answer; true_scores: the hidden one.
    """

    user_id: str
    wants: str
    choices: tuple[Choice, ...]
    question: str
    answers: tuple[str, ...]
    scores: tuple[float, ...]
    true_scores: tuple[float, ...]

    @property
    def agreement(self) -> float:
        """Spearman correlation of inferred and true order."""
        ranks = [torch.tensor(values).argsort().argsort().double() for values in (self.scores, self.true_scores)]
        return torch.corrcoef(torch.stack(ranks))[0, 1].item()

    def best(self) -> str:
        """The answer this person is predicted to like most."""
        return self.answers[max(range(len(self.answers)), key=self.scores.__getitem__)]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        shown = [{"prompt": c.prompt, "chosen": c.responses[0], "rejected": c.responses[1]} for c in self.choices]
        return {
            "user_id": self.user_id,
            "wants": self.wants,
            "choices": shown,
            "question": self.question,
            "answers": [
                {"response": answer, "score": score, "true_score": true}
                for answer, score, true in zip(self.answers, self.scores, self.true_scores, strict=True)
            ],
            "rank_agreement": self.agreement,
        }


@dataclass(frozen=True)
class TextDemo:
    """The text world's part of the demo: the evaluation on strangers and new questions, and three of the strangers.

    `known` and its `known_vectors` (by `embedder`) are what was trained on; `new_questions` were kept from it.
    """

    world: TextWorld
    trained: TrainedReward
    report: Report
    oracle_accuracy: float
    people: tuple[Person, ...]
    known: ChoiceTable
    known_vectors: Tensor
    new_questions: tuple[str, ...]
    embedder: str


def text_demo(
    seed: int = 0,
    *,
    users: int = 1400,
    choices_per_user: int = 40,
    steps: int = 800,
    embedder: str = "hash",
    on_event: Listener | None = None,
) -> TextDemo:
    """Train on four fifths of the people and prompts of a text world, evaluate on the others, introduce three of them.

    Args:
        seed: fixes the world, the split, training and evaluation.
        users: people in the world.
        choices_per_user: pairs each has judged.
        steps: optimiser steps at most.
        embedder: `hash` needs no model, so the demo gives the same numbers everywhere; `minilm` reads for meaning.
        on_event: receives training events.
    """
    world = TextWorld.generate(seed, n_users=users, choices_per_user=choices_per_user, responses_per_prompt=16)
    table = world.table
    reader = resolve_embedder(embedder)
    vectors = item_vectors(table, reader)
    known_users, new_users = split_users(table, (0.8, 0.2), seed=seed)
    known_prompts, new_prompts = split_groups(table, (0.8, 0.2), seed=seed)
    known = cut(table, known_users, known_prompts).table
    trained = train_reward(
        known,
        vectors,
        embedder=reader,
        training=TrainingConfig(seed=seed, steps=steps, validate_every=50, patience=6),
        on_event=on_event,
    )
    strangers = table.of_users(new_users)
    is_new = torch.zeros(table.n_prompts, dtype=torch.bool)
    is_new[new_prompts] = True
    report = evaluate(
        trained.model, strangers.index(), vectors, ks=KS, seed=seed, pooled=trained.pooled, target_groups=is_new
    )
    people = _introduce(world, strangers, known_prompts, int(new_prompts[0]), trained, vectors)
    questions = tuple(str(table.prompts[int(prompt)].as_py()) for prompt in new_prompts)
    return TextDemo(world, trained, report, world.oracle_accuracy(), people, known, vectors, questions, embedder)


def _introduce(
    world: TextWorld,
    strangers: ChoiceTable,
    known_prompts: Tensor,
    question: int,
    trained: TrainedReward,
    vectors: Tensor,
) -> tuple[Person, ...]:
    """Three strangers who want different things, each known by ten choices between answers to other questions."""
    numbers = torch.tensor([int(name.removeprefix("user-")) for name in strangers.users.to_pylist()])
    chosen = _unlike(world.weights[numbers])
    items = (torch.from_numpy(strangers.item_prompt) == question).nonzero().squeeze(1)[:ANSWERS_SHOWN]
    texts = [strangers.item(int(i)) for i in items]
    people = []
    for row in chosen:
        known = cut(strangers, torch.tensor([row]), known_prompts).table
        seen = known.select((torch.arange(len(known)) < CHOICES_SHOWN).numpy())
        state = trained.model.infer(choice_batch(seen, vectors))
        user = int(numbers[row])
        people.append(
            Person(
                user_id=world.user_id(user),
                wants=world.describe(user),
                choices=tuple(seen),
                question=texts[0][0],
                answers=tuple(response for _, response in texts),
                scores=tuple(trained.model.score(state, vectors[items])[0].tolist()),
                true_scores=tuple(world.rewards(torch.tensor([user]), world.locate(texts))[0].tolist()),
            )
        )
    return tuple(people)


def _unlike(weights: Tensor) -> list[int]:
    """Rows of three people: the two who want most opposite things, and whoever is least like either."""
    unit = weights / weights.norm(dim=1, keepdim=True)
    cosine = unit @ unit.T
    first, second = divmod(int(cosine.argmin()), len(unit))
    third = int((cosine[first].abs() + cosine[second].abs()).argmin())
    return [first, second, third]
