"""Small models and worlds whose right answers are known."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tacit.choices import ChoiceIndex
from tacit.episodes import ChoiceBatch


class Constant:
    name, has_uncertainty = "constant", False

    def __init__(self, p: float = 0.5) -> None:
        self.p = p

    def infer(self, choices: ChoiceBatch) -> Tensor:
        return torch.zeros(choices.n_users)

    def prefer(self, state: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return torch.full((len(state), a.shape[-2]), self.p)


class Linear:
    """One reward for everybody: r(y) = weights . y."""

    name, has_uncertainty = "linear", False

    def __init__(self, weights: Tensor, tie_mass: float = 0.0) -> None:
        self.weights, self.tie_mass = weights, tie_mass

    def infer(self, choices: ChoiceBatch) -> Tensor:
        return torch.zeros(choices.n_users)

    def prefer(self, state: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return (1 - self.tie_mass) * torch.sigmoid((a - b) @ self.weights)


class Bayes:
    """The exact posterior over known types of users, Float[types dim] reward weights, from pairs."""

    name, has_uncertainty = "bayes", True

    def __init__(self, types: Tensor) -> None:
        self.types = types

    def infer(self, choices: ChoiceBatch) -> Tensor:
        difference = choices.vectors[:, :, 0] - choices.vectors[:, :, 1]
        evidence = torch.nn.functional.logsigmoid(difference @ self.types.T) * choices.weight.unsqueeze(-1)
        return evidence.sum(1).softmax(-1)

    def prefer(self, state: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return (torch.sigmoid((a - b) @ self.types.T) * state.unsqueeze(1)).sum(-1)


class Leaker:
    """Memorises which items it saw win and lose, and knows nothing else."""

    name, has_uncertainty = "leaker", False

    def infer(self, choices: ChoiceBatch) -> ChoiceBatch:
        return choices

    def prefer(self, state: ChoiceBatch, a: Tensor, b: Tensor) -> Tensor:
        if not state.n_choices:
            return torch.full(a.shape[:-1], 0.5)

        def seen(items: Tensor) -> Tensor:
            same = (items[:, :, None, None] == state.vectors[:, None]).all(-1)  # [users items choices slots]
            return (same & (state.rank == 0)[:, None]).sum((2, 3)) - (same & (state.rank == 1)[:, None]).sum((2, 3))

        return torch.sigmoid(3.0 * (seen(a) - seen(b)))


@dataclass(frozen=True)
class World:
    index: ChoiceIndex
    vectors: Tensor
    types: Tensor


def world(
    users: int = 300,
    choices: int = 40,
    prompts: int = 400,
    dim: int = 6,
    types: int = 4,
    sharpness: float = 2.0,
    seed: int = 0,
) -> World:
    """Users of a few types, who also agree on something, choose between two responses of random prompts."""
    g = torch.Generator().manual_seed(seed)
    vectors = torch.randn(2 * prompts, dim, generator=g)
    half = torch.randn(types // 2, dim, generator=g)
    weights = torch.cat([half, -half]) + 0.7 * torch.randn(dim, generator=g)
    weights = weights / weights.norm(dim=1, keepdim=True) * sharpness
    kind = torch.randint(types, (users,), generator=g)
    user = torch.arange(users).repeat_interleave(choices)
    prompt = torch.stack([torch.randperm(prompts, generator=g)[:choices] for _ in range(users)]).flatten()
    a, b = 2 * prompt, 2 * prompt + 1
    p = torch.sigmoid(((vectors[a] - vectors[b]) * weights[kind[user]]).sum(-1))
    first = torch.rand(len(p), generator=g) < p
    items = torch.stack([torch.where(first, a, b), torch.where(first, b, a)], 1)
    rank = torch.tensor([0, 1]).expand(len(items), 2)
    index = ChoiceIndex.build(user, items, rank, prompt.unsqueeze(1).expand(-1, 2), n_users=users)
    return World(index, vectors, weights)


def ragged(seed: int, users: int = 12, choices: int = 150, slots: int = 4, prompts: int = 30) -> ChoiceIndex:
    """Rankings of 2 to `slots` of 120 items with ties and padding over unequally busy users; some span two prompts."""
    g = torch.Generator().manual_seed(seed)
    user = (users * torch.rand(choices, generator=g) ** 2).long()
    per_prompt = 120 // prompts
    prompt = torch.randint(prompts, (choices, 1), generator=g).expand(choices, slots)
    astray = (torch.rand(choices, 1, generator=g) < 0.2) & (torch.arange(slots) == 1)
    group = torch.where(astray, (prompt + 1) % prompts, prompt)
    ids = group * per_prompt + torch.stack([torch.randperm(per_prompt, generator=g)[:slots] for _ in range(choices)])
    step = torch.randint(0, 2, (choices, slots), generator=g)
    step[:, 0] = 0
    present = torch.arange(slots) < torch.randint(2, slots + 1, (choices, 1), generator=g)
    group = torch.where(present, group, group[:, :1])
    rank = torch.where(present, step.cumsum(1), -1)
    return ChoiceIndex.build(user, torch.where(present, ids, 0), rank, group, n_users=users + 1)
