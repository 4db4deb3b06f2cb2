"""How a policy's reward model reads texts, and what follows from it: the best of several answers, a reward for others.

Where the reward model was trained on the states of the base itself (`tacit train-reward --embedder PATH_OF_BASE`), its
embedder borrows the base that is loaded already: one model in memory, and unsteered, whatever the policy does.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from tacit.choices.conversation import Conversation, parse_answer
from tacit.embedders import Embedder
from tacit.embedders.embedder import Item
from tacit.embedders.huggingface import wrap_huggingface
from tacit.engines.engine import Sampling, requests
from tacit.engines.transformers.base import Base
from tacit.engines.transformers.engine import TransformersEngine
from tacit.engines.transformers.forward_patch import unsteered
from tacit.errors import ChoiceError, EmbeddingError
from tacit.rewards.model import RewardModel
from tacit.users import User, Users

__all__ = ["Ranked", "best_of", "personal_reward", "read_with_base"]

logger = logging.getLogger(__name__)


def read_with_base(reward: RewardModel, base: Base) -> Embedder:
    """Let a reward model read texts with `base` where it was trained on it, else with its own embedder; returns that.

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
            return reward.read_with(shared)
    embedder = reward.reader
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
    users: Users | Sequence[User],
    prompts: Sequence[Any],
    sampling: Sampling,
    *,
    z: Tensor | None = None,
) -> list[Ranked]:
    """`sampling.samples` answers to each prompt, ranked under the user's own reward.

    Args:
        users: whose rewards rank: one, or one a prompt.
        prompts: anything `Conversation.parse` takes.
        z: for whom the engine writes, Float[1 latent] or [prompts latent]; None = as the base.
    """
    ranked = []
    for number, (prompt, drawn) in enumerate(
        zip(prompts, engine.generate(requests(prompts, z, sampling)), strict=True)
    ):
        answers = [answer.text for answer in drawn]
        rewards = _rewards(users[number if len(users) > 1 else 0], [_item(prompt, answer) for answer in answers])
        order = sorted(range(len(answers)), key=rewards.__getitem__, reverse=True)
        ranked.append(Ranked(tuple(answers[i] for i in order), tuple(rewards[i] for i in order)))
    return ranked


def personal_reward(users: Users) -> Callable[..., list[float]]:
    """A reward function as TRL's trainers call it: `f(prompts, completions, user_id=[...]) -> rewards` in nats.

    Prompts and completions may be texts, messages or lists of messages, as everywhere; the reward is that of the item
    which a row of data with the same words holds.

    Raises:
        ChoiceError: when called with an unknown user, without `user_id`, or with what is no conversation.
    """

    def personal(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float]:
        ids = columns.get("user_id")
        if ids is None or len(ids) != len(prompts):
            raise ChoiceError("the data need a column user_id, one for every prompt")
        rows: dict[str, list[int]] = {}
        for row, user in enumerate(map(str, ids)):
            rows.setdefault(user, []).append(row)
        known = {user: users[user] for user in rows}
        items = [_item(prompt, answer) for prompt, answer in zip(prompts, completions, strict=True)]
        paid = [0.0] * len(items)
        for user, own in rows.items():
            for row, reward in zip(own, _rewards(known[user], [items[row] for row in own]), strict=True):
                paid[row] = reward
        return paid

    return personal


def _rewards(user: User, items: Sequence[Item]) -> list[float]:
    """Of each item in nats, at the user's posterior mean."""
    return user.model.reward(user.posterior.mean, user.model.vectors(items))[0].tolist()


def _item(prompt: Any, answer: Any) -> Item:
    """The item of a row with these words; an answer of nothing, which no row has, is read as a space."""
    said = answer
    while isinstance(said, Sequence) and not isinstance(said, str) and len(said) == 1:
        said = said[0]
    content = said.get("content") if isinstance(said, Mapping) else said
    blank = isinstance(content, str) and not content.strip()
    return Conversation.parse(prompt).key, " " if blank else parse_answer(answer)
