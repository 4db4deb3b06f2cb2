"""Following people without training a policy: the best of several answers, and examples in the prompt."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tacit.choices.conversation import Conversation
from tacit.embedders import resolve_embedder
from tacit.embedders.table import text_vectors
from tacit.engines import TransformersEngine, requests
from tacit_experiments.steering.world import SteeringWorld

__all__ = ["ROOM", "Pool", "best_of_pool", "draw_pool", "with_examples"]

Pool = dict[str, list[str]]
"""By question, answers of the base."""

_AT_ONCE = 4
ROOM = 150  # tokens for an answer behind examples


def draw_pool(world: SteeringWorld, engine: TransformersEngine, count: int = 64) -> Pool:
    """`count` answers of the base to everything that may be asked; judges share them, since the base knows nobody."""
    pool: Pool = {}
    for number, start in enumerate(range(0, len(world.prompts), _AT_ONCE)):
        some = world.prompts[start : start + _AT_ONCE]
        drawn = world.setting.sampling.model_copy(update={"seed": 1000 * world.seed + 500 + number, "samples": count})
        found = engine.generate(requests(some, None, drawn))
        pool.update(zip(some, [[answer.text for answer in answers] for answers in found], strict=True))
    return pool


def best_of_pool(world: SteeringWorld, pool: Pool, count: int, z: Tensor | None) -> list[list[str]]:
    """The best of the first `count` answers to each judge and question: by the reward of z, or (None) truly."""
    score = _true_scores(world, pool, count) if z is None else _inferred_scores(world, pool, count, z)
    return [[pool[question][int(score(judge, question).argmax())] for question in asked]
            for judge, asked in enumerate(world.questions)]  # fmt: skip


def with_examples(world: SteeringWorld, k: int, engine: TransformersEngine) -> list[list[str]]:
    """The judges' questions behind answers they chose: as many of k as leave `ROOM` tokens for a reply."""
    limit = (engine.dialogue.max_length or 10**9) - ROOM
    found = []
    for judge, asked in enumerate(world.questions):
        chosen = world.index.items[world.context[judge, :k]][:, 0].tolist()
        found.append([_behind([world.items[item] for item in chosen], question, engine, limit) for question in asked])
    return found


def _behind(examples: Sequence[tuple[str, str]], question: str, engine: TransformersEngine, limit: int) -> str:
    text = question
    for prompt, answer in examples:
        longer = f"{prompt}\n{answer}\n{text}"
        if len(engine.dialogue.prompt(Conversation.parse(longer))) > limit:
            break
        text = longer
    return text


def _true_scores(world: SteeringWorld, pool: Pool, count: int) -> Callable[[int, str], Tensor]:
    measured = {question: world.world.measure(question, answers[:count]) for question, answers in pool.items()}
    return lambda judge, question: measured[question] @ world.tastes[judge]


def _inferred_scores(world: SteeringWorld, pool: Pool, count: int, z: Tensor) -> Callable[[int, str], Tensor]:
    model, reader = world.trained.model, resolve_embedder("hash")
    scores = {}
    for question, answers in pool.items():
        vectors = text_vectors([(question, answer or " ") for answer in answers[:count]], reader)
        with torch.no_grad():
            scores[question] = model.network.head(model.network.standardizer(vectors), z)
    return lambda judge, question: scores[question][judge]
