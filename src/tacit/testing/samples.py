"""What the suites feed to a part: random choices, and the same choices said in other ways."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor, nn

from tacit.episodes.batch import ChoiceBatch
from tacit.episodes.hashing import step_generator

__all__ = [
    "every_gradient",
    "keep_first",
    "padded",
    "random_choices",
    "refusal",
    "reordered",
    "seeded_module",
    "swapped",
]

M = TypeVar("M", bound=nn.Module)


def random_choices(
    users: int, choices: int, dim: int, *, slots: int = 2, seed: int = 0, dtype: torch.dtype = torch.float64
) -> ChoiceBatch:
    """Choices between standard normal items: vectors Float[users choices slots dim], strict ranks, unit weights."""
    vectors = torch.randn(users, choices, slots, dim, generator=step_generator(seed, 11), dtype=dtype)
    rank = torch.arange(slots).expand(users, choices, slots)
    return ChoiceBatch(vectors, rank, torch.ones(users, choices, dtype=dtype))


def reordered(choices: ChoiceBatch, order: Sequence[int]) -> ChoiceBatch:
    """The choices of every user at these positions, in this order; a position may come twice."""
    at = torch.tensor(order, dtype=torch.int64)
    return ChoiceBatch(choices.vectors[:, at], choices.rank[:, at], choices.weight[:, at])


def swapped(choices: ChoiceBatch, first: int = 0, second: int = 1) -> ChoiceBatch:
    """Two items of every choice change places; ranks stay where they are."""
    slots = list(range(choices.vectors.shape[2]))
    slots[first], slots[second] = slots[second], slots[first]
    return choices.with_vectors(choices.vectors[:, :, slots])


def keep_first(choices: ChoiceBatch, counts: Sequence[int]) -> ChoiceBatch:
    """User u keeps the first `counts[u]` choices; the others become padding by their weight alone."""
    kept = torch.arange(choices.n_choices) < torch.tensor(counts).unsqueeze(1)
    return replace(choices, weight=choices.weight * kept)


def padded(choices: ChoiceBatch, *, extra_choices: int = 0, extra_slots: int = 0) -> ChoiceBatch:
    """The same choices in a larger batch, with large nonsense in the padding."""
    users, count, slots, dim = choices.vectors.shape
    shape = (users, count + extra_choices, slots + extra_slots)
    vectors = 100 * torch.randn(*shape, dim, generator=step_generator(7, 12), dtype=choices.vectors.dtype)
    vectors[:, :count, :slots] = choices.vectors
    rank = torch.full(shape, -1)
    rank[:, :count, :slots] = choices.rank
    weight = torch.zeros(shape[:2], dtype=choices.weight.dtype)
    weight[:, :count] = choices.weight
    return ChoiceBatch(vectors, rank, weight)


def seeded_module(make: Callable[[], M], seed: int = 0) -> M:
    """A module in double precision whose parameters are all moved off their initial values.

    A part that starts at zero or at the identity would pass many checks by doing nothing. The caller's random state
    is left alone.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        module = make().double().eval()
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, dtype=parameter.dtype))
    return module


def refusal(call: Callable[[], object], error: type[Exception]) -> str:
    """The message with which `call` raises `error`; an empty text where it does not."""
    try:
        call()
    except error as caught:
        return str(caught) or repr(caught)
    return ""


def every_gradient(module: nn.Module, loss: Tensor) -> dict[str, bool]:
    """For each trainable parameter, whether `loss` moves it."""
    module.zero_grad()
    loss.backward()
    return {
        name: parameter.grad is not None and bool(parameter.grad.abs().max() > 0)
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
    }
