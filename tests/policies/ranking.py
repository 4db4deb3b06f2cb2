"""A policy, an untrained reward model over an embedder, and two users who like opposite things."""

from typing import Any

import torch
from moved_policy import moved
from torch import Tensor

from tacit.embedders import Embedder, HashEmbedder
from tacit.encoders import UserStates
from tacit.engines import Base, Sampling, TransformersEngine
from tacit.episodes import ChoiceBatch
from tacit.policies import Ranked, best_of
from tacit.rewards import RewardConfig, RewardModel
from tacit.rewards.embedder_reference import EmbedderReference
from tacit.rewards.network import RewardNetwork
from tacit.steering import SteerablePolicy
from tacit.users import Users

SAMPLING = Sampling(samples=4, max_new_tokens=6)


def reader(embedder: Embedder) -> RewardModel:
    """An untrained reward model over an embedder's vectors, far from agreeing with everybody."""
    torch.manual_seed(1)
    network = RewardNetwork(embedder.dim, RewardConfig(members=1, latent=4)).eval()
    return RewardModel(network, embedder=EmbedderReference(embedder.spec, embedder.fingerprint))


def users_of(reward: RewardModel, embedder: Embedder, count: int = 2) -> UserStates:
    """Each of whom chose letters over digits or the other way round, many times."""
    letters = torch.from_numpy(embedder.embed([("Q", "abc" * (n + 1)) for n in range(6)])).float()
    digits = torch.from_numpy(embedder.embed([("Q", "127" * (n + 1)) for n in range(6)])).float()
    chosen = torch.stack([letters if user % 2 == 0 else digits for user in range(count)])
    rejected = torch.stack([digits if user % 2 == 0 else letters for user in range(count)])
    return reward.infer(ChoiceBatch.pairs(chosen, rejected))


class Ranking:
    """A policy over hashed texts with two users who like opposite things."""

    def __init__(self, base: Base) -> None:
        self.embedder = HashEmbedder()
        self.reward = reader(self.embedder)
        self.policy = moved(SteerablePolicy.new(base, self.reward))
        self.engine = TransformersEngine(base, self.policy)
        self.users = users_of(self.reward, self.embedder)

    def best(self, prompts: list[Any], users: UserStates, *, steered: bool = True) -> list[Ranked]:
        z = self.policy.latents(users) if steered else None
        return best_of(self.engine, Users(self.reward, users, "ab"[: len(users)]), prompts, SAMPLING, z=z)

    def worth(self, user: int, prompt: str, answers: tuple[str, ...]) -> Tensor:
        vectors = torch.from_numpy(self.embedder.embed([(prompt, answer or " ") for answer in answers])).float()
        return self.reward.score(self.users[torch.tensor([user])], vectors)[0]
