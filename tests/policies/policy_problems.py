"""Toy preferences to train policies on: two camps of users who want opposite things of every answer."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tacit.choices import ChoiceIndex
from tacit.engines import Base, Dialogue
from tacit.policies import PolicyTrainingConfig, fit_policy
from tacit.policies.latents import choice_evidence
from tacit.policies.pairs import PolicyPairs, tokenise
from tacit.rewards import RewardConfig, RewardModel
from tacit.rewards.network import RewardNetwork
from tacit.steering import PolicyConfig, SteerablePolicy

Items = list[tuple[str, str]]

LATENT, DIM = 4, 8
SHORT: dict[str, Any] = {
    "max_steps": 6, "eval_steps": 2, "per_device_train_batch_size": 4, "learning_rate": 0.01, "max_context": 4,
    "eval_users": 8, "teacher": "choices", "beta": 0.1, "sft_weight": 0.0,
}  # fmt: skip


@dataclass(frozen=True)
class Camps:
    """Half of the users always take the answer made of a, half the one made of b, whatever their lengths.

    Shapes:
        items, vectors: by item id; a vector shows little but of which letter an answer is.
        kind: Int64[users of validation], 0 for those who want a; whoever comes before a user is equally often of the
            same camp and of the other.
        target_groups: Bool[prompts], those that nobody in `train` has seen.
    """

    items: Items
    vectors: Tensor
    train: ChoiceIndex
    validation: ChoiceIndex
    kind: Tensor
    target_groups: Tensor

    def settings(self) -> dict[str, Any]:
        return {
            "items": self.items, "vectors": self.vectors, "train": self.train, "validation": self.validation,
            "target_groups": self.target_groups,
        }  # fmt: skip


def camps(*, users: int = 24, validation: int = 8, choices: int = 8, prompts: int = 16, seed: int = 0) -> Camps:
    """`prompts` questions with two answers of either letter; a choice is always between the letters.

    Users of `train` choose on the first half of the prompts, those of `validation` on every one.
    """
    g = torch.Generator().manual_seed(seed)
    length = torch.randint(2, 16, (prompts, 4), generator=g).tolist()
    items = [(f"q{p}", "aabb"[slot] * (length[p][slot] + slot % 2)) for p in range(prompts) for slot in range(4)]
    vectors = 0.1 * torch.randn(len(items), DIM, generator=g)
    vectors[:, 0] = torch.tensor([3.0 if text[0] == "a" else -3.0 for _, text in items])
    half = prompts // 2

    def index(count: int, seen: int, choices: int) -> ChoiceIndex:
        user = torch.arange(count).repeat_interleave(choices)
        prompt = torch.rand(count, seen, generator=g).argsort(1)[:, :choices].flatten()
        a, b = (4 * prompt + side + torch.randint(2, (len(user),), generator=g) for side in (0, 2))
        likes_b = (user // 2 % 2).bool().unsqueeze(1)
        pair = torch.where(likes_b, torch.stack([b, a], 1), torch.stack([a, b], 1))
        rank = torch.tensor([0, 1]).expand(len(user), 2)
        return ChoiceIndex.build(user, pair, rank, prompt.unsqueeze(1).expand(-1, 2), n_users=count)

    kind, target = torch.arange(validation) // 2 % 2, torch.arange(prompts) >= half
    return Camps(items, vectors, index(users, half, choices), index(validation, prompts, prompts), kind, target)


def camp_reward(seed: int = 1) -> RewardModel:
    """An untrained reward model: what it makes of a letter is random, but differs between the letters."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return RewardModel(RewardNetwork(DIM, RewardConfig(members=1, latent=LATENT)).eval())


def short(**more: Any) -> PolicyTrainingConfig:
    return PolicyTrainingConfig.model_validate(SHORT | more)


def small(**more: Any) -> PolicyConfig:
    """Of a gated LoRA unless another kind is asked for."""
    return PolicyConfig.model_validate({"modulator": ({} if "kind" in more else {"rank": 2, "alpha": 4.0}) | more})


def pairs_of(base: Base, index: ChoiceIndex, items: Items, vectors: Tensor, **settings: Any) -> PolicyPairs:
    """What is trained on, with a made-up reference: -i nats for item i."""
    dialogue, reward = Dialogue(base), camp_reward()
    rows, _ = tokenise(dialogue, items, torch.ones(len(items), dtype=torch.bool))
    known = {"max_context": 4, "seed": 0} | settings
    evidence = choice_evidence(reward, index, vectors)
    return PolicyPairs.build(index, evidence, rows, -torch.arange(float(len(items))), reward, dialogue, **known)


def fit(base: Base, folder: Path, world: Camps | None = None, **settings: Any) -> SteerablePolicy:
    """`fit_policy` on `world`, a few steps of a small policy unless the settings say otherwise."""
    known = (world or camps()).settings() | {"reward": camp_reward(), "config": small(), "training": short()}
    return fit_policy(base, folder=folder, **(known | settings))


def weights(policy: SteerablePolicy) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in policy.modulator.parameters()])
