"""A reward as teacher: which of some answers to a prompt a user would find best and worst, and how far apart."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tacit.episodes.hashing import hash_unit
from tacit.rewards.model import RewardModel

__all__ = ["Rewards", "Teacher", "inferred_rewards"]

Rewards = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Users Int64[rows], items Int64[rows answers] and the users' z Float[rows latent] to rewards Float[rows answers]."""

_MOST = 64  # answers to one prompt that are looked at: the best of more is hardly better

_LENDERS = 32  # a policy that is taught on fewer prompts learns the prompts


@dataclass(frozen=True)
class Teacher:
    """Pairs for distillation: the best and the worst of some known answers to a prompt under a personal reward.

    A single choice says which of two answers somebody took, once, with all the noise of taking it. The reward that was
    inferred from many such choices says how far apart any answers are, so a wide pair is taught instead, as West-of-N
    does (Pace et al., 2024, arXiv 2401.12086), and how wide it is, as reward distillation does (Fisch et al., 2024,
    arXiv 2405.19316).

    The answers compared are drawn at random for every pair. The best and the worst of all would be the same two texts
    for everybody of one taste, and a policy learns those by heart instead of the taste.

    Attributes:
        compared: answers compared for one pair.

    Shapes:
        answers: Int64[prompts answers] item ids, -1 = none.
        prompt_of: Int64[items], rows of `answers`.
    """

    answers: Tensor
    prompt_of: Tensor
    rewards: Rewards
    compared: int

    @classmethod
    def build(
        cls, items: Sequence[tuple[str, str]], used: Tensor, rewards: Rewards, *, compared: int, written: int = 0
    ) -> "Teacher":
        """Over the `used` items, Bool[items]; of very many answers to a prompt, some at random.

        The last `written` items are answers that nobody chose between. Where many prompts have got some, another with
        less than `compared` answers is left aside, and one of these taught in its place.
        """
        numbers: dict[str, int] = {}
        prompt_of = torch.tensor([numbers.setdefault(prompt, len(numbers)) for prompt, _ in items])
        known: list[list[int]] = [[] for _ in numbers]
        for item in used.nonzero().squeeze(1).tolist():
            known[int(prompt_of[item])].append(item)
        order = hash_unit(torch.arange(len(items)), torch.tensor(405))
        known = [sorted(some, key=lambda item: float(order[item]))[:_MOST] for some in known]
        width = max(map(len, known), default=0)
        answers = torch.tensor([some + [-1] * (width - len(some)) for some in known], dtype=torch.int64)
        lending = prompt_of[len(items) - written :].unique()
        if len(lending) >= _LENDERS:
            rows = torch.arange(len(known))
            keeps = torch.tensor([len(some) for some in known]) >= min(compared, _MOST)
            keeps[lending] = True
            lent = lending[(hash_unit(rows, 409) * len(lending)).long()]
            prompt_of = torch.where(keeps, rows, lent)[prompt_of]
        return cls(answers.view(len(known), width), prompt_of, rewards, compared)

    def pairs(self, users: Tensor, items: Tensor, z: Tensor, draw: Tensor) -> tuple[Tensor, Tensor]:
        """The best and the worst answer, Int64[rows 2], to the prompts of `items`, and the gap between their rewards.

        Shapes: users Int64[rows], items Int64[rows], z Float[rows latent], draw Int64[rows], which number fixes what is
        compared; the gap Float32[rows], in the rewards' unit.
        """
        answers = self.answers[self.prompt_of[items]]
        order = hash_unit(answers, draw.unsqueeze(1)).masked_fill(answers < 0, 2.0)
        compared = order.topk(min(self.compared, answers.shape[1]), dim=1, largest=False).indices
        answers = answers.gather(1, compared)
        none = answers < 0
        rewards = self.rewards(users, answers.clamp(min=0), z).float()
        best = rewards.masked_fill(none, -torch.inf).argmax(1, keepdim=True)
        worst = rewards.masked_fill(none, torch.inf).argmin(1, keepdim=True)
        ends = torch.cat([best, worst], 1)
        values = rewards.gather(1, ends)
        return answers.gather(1, ends), values[:, 0] - values[:, 1]


def inferred_rewards(reward: RewardModel, vectors: Tensor) -> Rewards:
    """The reward at the posterior mean, of items whose vectors are Float[items dim]."""
    with torch.no_grad():
        features = torch.cat(
            [reward.network.head.read(reward.network.standardizer(some)) for some in vectors.split(4096)]
        )

    def rewards(users: Tensor, items: Tensor, z: Tensor) -> Tensor:
        with torch.no_grad():
            return reward.network.head.combine(features[items], z)

    return rewards
