"""The training data of a policy: pairs of tokenised responses, each with a z of its user."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from tacit.choices.conversation import Conversation
from tacit.choices.index import ChoiceIndex
from tacit.embedders.embedder import Item
from tacit.engines.transformers.dialogue import Dialogue
from tacit.episodes import draw_contexts, step_generator
from tacit.episodes.hashing import mix
from tacit.errors import ChoiceError
from tacit.policies.latents import context_latents
from tacit.policies.teacher import Teacher
from tacit.rewards.model import RewardModel

__all__ = ["PairBatches", "PolicyPairs", "Row", "tokenise"]

Row = tuple[list[int], int]
"""The tokens of prompt and response, and how many of them are the response."""

_TOLD_EVERY = 500
_BUCKET = 32  # batches sorted by length together: long enough to save padding, short enough to stay a shuffle


def tokenise(
    dialogue: Dialogue,
    items: Sequence[Item],
    used: Tensor,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Row | None], dict[int, str]]:
    """The row of every used item (Bool[items]), None for the others; a prompt's tokens are worked out once.

    Args:
        progress: called with (done, total) items, now and then.

    Returns:
        rows: by item.
        faults: by item, why it cannot be trained on; such an item has no row.
    """
    prompts: dict[str, Conversation] = {}
    tokens: dict[str, list[int]] = {}
    rows: list[Row | None] = [None] * len(items)
    faults: dict[int, str] = {}
    wanted = used.nonzero().squeeze(1).tolist()
    for done, item in enumerate(wanted, 1):
        prompt, answer = items[item]
        try:
            if prompt not in tokens:
                prompts[prompt] = Conversation.from_key(prompt)
                tokens[prompt] = dialogue.prompt(prompts[prompt])
            rows[item] = dialogue.row(tokens[prompt], dialogue.response(prompts[prompt], answer))
        except ChoiceError as error:
            faults[item] = str(error)
        if progress and (done % _TOLD_EVERY == 0 or done == len(wanted)):
            progress(done, len(wanted))
    return rows, faults


@dataclass(frozen=True)
class PolicyPairs(Dataset[tuple[int, int]]):
    """Every two differently ranked (or tied) responses of one choice, as a pair for DPO.

    Shapes:
        pairs: Int64[pairs 2] item ids, the preferred first.
        choice: Int64[pairs], the row of `index` each comes from.
        weight: Float32[pairs], the choice's weight shared among its pairs.
        tie: Bool[pairs].
        evidence: Float64[choices evidence] of every choice in `index`, as `reward` reads it.
        told: Float32[users latent], z of every user of `index` where it is not inferred anew for every pair.
        teacher: names the pair and its gap in place of the choice, if there is one.
        vectors: Float[items dim], where an encoder that is trained reads contexts anew in every step.
        rows: by item id. reference: Float32[items], the base's log-probability of each response.
    """

    index: ChoiceIndex
    pairs: Tensor
    choice: Tensor
    weight: Tensor
    tie: Tensor
    evidence: Tensor
    rows: Sequence[Row | None]
    reference: Tensor
    reward: RewardModel
    dialogue: Dialogue
    max_context: int
    seed: int
    told: Tensor | None = None
    teacher: Teacher | None = None
    vectors: Tensor | None = None

    @classmethod
    def build(
        cls,
        index: ChoiceIndex,
        evidence: Tensor,
        rows: Sequence[Row | None],
        reference: Tensor,
        reward: RewardModel,
        dialogue: Dialogue,
        *,
        max_context: int,
        seed: int,
        told: Tensor | None = None,
        teacher: Teacher | None = None,
        vectors: Tensor | None = None,
    ) -> "PolicyPairs":
        """All pairs of all choices.

        Raises:
            ChoiceError: there are none.
        """
        left, right = torch.combinations(torch.arange(index.items.shape[1]), 2).unbind(1)
        rank_l, rank_r = index.rank[:, left], index.rank[:, right]
        present = (rank_l >= 0) & (rank_r >= 0)
        choice, place = present.nonzero().unbind(1)
        if not len(choice):
            raise ChoiceError("there is no choice to train a policy on")
        items = torch.stack([index.items[choice, left[place]], index.items[choice, right[place]]], 1)
        swapped = rank_l[choice, place] > rank_r[choice, place]
        pairs = torch.where(swapped.unsqueeze(1), items.flip(1), items)
        weight = (index.weight / present.sum(1).clamp(min=1))[choice].float()
        tie = rank_l[choice, place] == rank_r[choice, place]
        return cls(
            index, pairs, choice, weight, tie, evidence, rows, reference, reward, dialogue, max_context, seed, told,
            teacher, vectors,
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, at: tuple[int, int]) -> tuple[int, int]:
        return at

    def lengths(self) -> Tensor:
        """Int64[pairs]: tokens of the longer row of each pair."""
        tokens = torch.tensor([0 if row is None else len(row[0]) for row in self.rows])
        return tokens[self.pairs].amax(1)

    def collate(self, drawn: Sequence[tuple[int, int]]) -> dict[str, Any]:
        """A batch from (epoch, pair) numbers: rows preferred, rejected, preferred, ... and a z for each pair."""
        epoch, number = torch.tensor(drawn).unbind(1)
        items = self.pairs[number]
        if self.vectors is not None:
            read = self._contexts(number, epoch, self.vectors)
        else:
            read = {"z": self.latents(number, epoch)}
        if self.teacher is not None:
            draw = number + epoch * len(self) + mix(self.seed, 407) % (1 << 40)
            items, read["gap"] = self.teacher.pairs(self.index.user[self.choice[number]], items[:, 0], read["z"], draw)
        tokens = self.dialogue.batch([self._row(item) for item in items.flatten().tolist()])
        return {
            "ids": tokens.ids,
            "mask": tokens.mask,
            "response": tokens.response,
            "reference": self.reference[items],
            "weight": self.weight[number],
            "tie": self.tie[number],
            **read,
        }

    def latents(self, number: Tensor, epoch: Tensor | int) -> Tensor:
        """Z of the users of some pairs, Float32[pairs latent]: told, or inferred from a context."""
        if self.told is not None:
            return self.told[self.index.user[self.choice[number]]]
        return self.inferred(number, epoch)

    def inferred(self, number: Tensor, epoch: Tensor | int) -> Tensor:
        """Posterior means Float32[pairs latent] from a context drawn for each of some pairs."""
        return context_latents(self.reward, self.index, self.evidence, self._drawn(number, epoch))

    def _drawn(self, number: Tensor, epoch: Tensor | int) -> Tensor:
        return draw_contexts(self.index, self.choice[number], self.max_context, seed=self.seed, epoch=epoch)

    def _contexts(self, number: Tensor, epoch: Tensor | int, vectors: Tensor) -> dict[str, Tensor]:
        """The same contexts as `TunedEncoder` reads them."""
        contexts = self._drawn(number, epoch)
        chosen = contexts.clamp(min=0)
        return {
            "context": vectors[self.index.items[chosen]].float(),
            "rank": self.index.rank[chosen],
            "context_weight": self.index.weight[chosen].float() * (contexts >= 0),
        }

    def _row(self, item: int) -> Row:
        row = self.rows[item]
        assert row is not None, f"item {item} occurs in a choice and was not tokenised"
        return row


class PairBatches(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, pair) numbers, of pairs of like length, the same for any number of processes.

    A step's pairs depend on seed and step only; they are divided into `parts` batches, of `size` / `parts` pairs each,
    for as many processes and accumulated forwards as there are.
    """

    def __init__(self, lengths: Tensor, size: int, parts: int, steps: int, seed: int) -> None:
        self.lengths, self.size, self.parts, self.steps, self.seed = lengths, size, parts, steps, seed

    def __len__(self) -> int:
        return self.steps * self.parts

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        each = self.size // self.parts
        step, epoch = 0, 0
        while step < self.steps:
            for numbers in self._epoch(epoch):
                for part in range(self.parts):
                    yield [(epoch, number) for number in numbers[part * each : (part + 1) * each]]
                step += 1
                if step == self.steps:
                    return
            epoch += 1

    def _epoch(self, epoch: int) -> list[list[int]]:
        """The steps of one pass: shuffled, sorted by length within runs of some batches, and those shuffled."""
        generator = step_generator(self.seed, 402, epoch)
        count = len(self.lengths)
        order = torch.cat([torch.randperm(count, generator=generator) for _ in range(-(-self.size // count))])
        order = order[: len(order) // self.size * self.size]
        runs = [run[self.lengths[run].argsort(stable=True)] for run in order.split(self.size * _BUCKET)]
        batches = torch.cat(runs).view(-1, self.size)
        return batches[torch.randperm(len(batches), generator=generator)].tolist()
