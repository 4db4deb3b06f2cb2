"""How a policy's reward model reads texts, and what follows from it: the best of several answers, a reward for others.

Where the reward model was trained on the states of the base itself (`tacit train-reward --embedder PATH_OF_BASE`), its
embedder borrows the base that is loaded already: one model in memory, and unsteered, whatever the policy does.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tacit.choices.conversation import Conversation, parse_answer
from tacit.embedders import Embedder
from tacit.embedders.embedder import Item
from tacit.embedders.huggingface import wrap_huggingface
from tacit.encoders.state import UserStates
from tacit.engines.engine import Sampling, requests
from tacit.engines.transformers.base import Base
from tacit.engines.transformers.engine import TransformersEngine
from tacit.engines.transformers.forward_patch import unsteered
from tacit.errors import ChoiceError, EmbeddingError
from tacit.rewards.model import RewardModel

__all__ = ["Ranked", "best_of", "personal_reward", "reward_embedder"]

logger = logging.getLogger(__name__)


def reward_embedder(reward: RewardModel, base: Base) -> Embedder:
    """The embedder a reward model was trained with; `base` itself where it is the same model.

    Raises:
        EmbeddingError: the model was trained on bare vectors, or its embedder cannot be found.
        StateMismatchError: what stands under its name now makes other vectors.
    """
    if reward.embedder is None:
        raise EmbeddingError(
            "this reward model was trained on bare vectors, so it cannot read texts; train it on texts"
        )
    spec = dict(reward.embedder.spec)
    folder = Path(str(spec.pop("name", "")))
    if base.folder.resolve() == folder.resolve() or base.name == str(folder):
        shared = wrap_huggingface(_Plain(base.model), base.tokenizer, name=str(folder), folder=base.folder, **spec)
        if (shared.fingerprint, shared.dim) == (reward.embedder.fingerprint, reward.dim):
            logger.info("the reward model reads with the base itself: one model in memory")
            return shared
    embedder = reward.embedder.resolve(reward.dim)
    logger.info("the reward model reads with %s, which is loaded beside the base", embedder.name)
    return embedder


class _Plain(nn.Module):
    """A base without its head, that nobody steers."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.config = model.base_model, model.config

    def forward(self, **inputs: Any) -> Any:
        with unsteered():
            return self.model(**inputs)


@dataclass(frozen=True)
class Ranked:
    """Answers to one prompt and their rewards for a user in nats, best first."""

    answers: tuple[str, ...]
    rewards: tuple[float, ...]


def best_of(
    engine: TransformersEngine,
    reward: RewardModel,
    embedder: Embedder,
    prompts: Sequence[Any],
    users: UserStates,
    sampling: Sampling,
    *,
    z: Tensor | None = None,
) -> list[Ranked]:
    """`sampling.samples` answers to each prompt, ranked under the user's own reward.

    Args:
        embedder: from `reward_embedder`.
        prompts: anything `Conversation.parse` takes.
        users: whose rewards rank: one, or one a prompt.
        z: for whom the engine writes, Float[1 latent] or [prompts latent]; None = as the base.
    """
    ranked = []
    for number, (prompt, drawn) in enumerate(
        zip(prompts, engine.generate(requests(prompts, z, sampling)), strict=True)
    ):
        user = users if len(users) == 1 else users[torch.tensor([number])]
        answers = [answer.text for answer in drawn]
        vectors = torch.from_numpy(embedder.embed([_item(prompt, answer) for answer in answers])).float()
        scores = reward.score(user, vectors)[0].tolist()
        order = sorted(range(len(answers)), key=scores.__getitem__, reverse=True)
        ranked.append(Ranked(tuple(answers[i] for i in order), tuple(scores[i] for i in order)))
    return ranked


def personal_reward(
    reward: RewardModel, users: Mapping[str, UserStates], embedder: Embedder
) -> Callable[..., list[float]]:
    """A reward function as TRL's trainers call it: `f(prompts, completions, user_id=[...]) -> rewards` in nats.

    Prompts and completions may be texts, messages or lists of messages, as everywhere; the reward is that of the item
    which a row of data with the same words holds.

    Args:
        reward: the reward model.
        users: a state of one user each, by id.
        embedder: what the reward model reads texts with.

    Raises:
        ChoiceError: when called with a user who is not among them, without `user_id`, or with what is no conversation.
    """

    def personal(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float]:
        ids = columns.get("user_id")
        if ids is None or len(ids) != len(prompts):
            raise ChoiceError("the data need a column user_id, one for every prompt")
        unknown = sorted({str(user) for user in ids} - set(users))
        if unknown:
            raise ChoiceError(f"user {unknown[0]!r} is not among the {len(users)} known users; infer them first")
        items = [_item(prompt, answer) for prompt, answer in zip(prompts, completions, strict=True)]
        vectors = torch.from_numpy(embedder.embed(items)).float()
        return [
            float(reward.score(users[str(user)], vectors[number : number + 1])[0, 0]) for number, user in enumerate(ids)
        ]

    return personal


def _item(prompt: Any, answer: Any) -> Item:
    """The item of a row with these words; an answer of nothing, which no row has, is read as a space."""
    said = answer
    while isinstance(said, Sequence) and not isinstance(said, str) and len(said) == 1:
        said = said[0]
    content = said.get("content") if isinstance(said, Mapping) else said
    blank = isinstance(content, str) and not content.strip()
    return Conversation.parse(prompt).key, " " if blank else parse_answer(answer)
