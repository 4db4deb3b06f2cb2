"""What a policy is trained on: every pair of every choice, with a z from the same user's other choices."""

from pathlib import Path

import pytest
import torch
from policy_problems import Camps, camp_reward, camps, pairs_of
from torch import Tensor
from torch.testing import assert_close

from tacit.choices import ChoiceIndex
from tacit.choices.conversation import Conversation
from tacit.engines import Base, Dialogue, load_base
from tacit.episodes import ChoiceBatch, draw_contexts
from tacit.errors import ChoiceError
from tacit.policies.latents import choice_evidence, context_latents
from tacit.policies.pairs import PolicyPairs, tokenise

ITEMS = [(f"q{item // 4}", "abcd"[item % 4] * (item + 1)) for item in range(12)]
VECTORS = torch.randn(12, 8, generator=torch.Generator().manual_seed(0))


def mixed_index() -> ChoiceIndex:
    """A ranking of three with a tie, a plain pair that is not written best first, a pair, and a tie."""
    items = torch.tensor([[0, 1, 2], [4, 5, 0], [9, 8, 0], [6, 7, 0]])
    rank = torch.tensor([[0, 1, 1], [1, 0, -1], [0, 1, -1], [0, 0, -1]])
    group = torch.tensor([0, 1, 2, 1]).unsqueeze(1).expand(4, 3)
    weight = torch.tensor([6.0, 2.0, 1.0, 0.5])
    time = torch.arange(4.0, dtype=torch.float64)
    return ChoiceIndex.build(torch.tensor([0, 0, 0, 1]), items, rank, group, n_users=2, weight=weight, timestamp=time)


@pytest.fixture(scope="module")
def world() -> Camps:
    return camps(users=6, choices=6, prompts=16)


@pytest.fixture
def pairs(base: Base, world: Camps) -> PolicyPairs:
    return pairs_of(base, world.train, world.items, world.vectors)


# -- from choices to pairs ---------------------------------------------------------------------------------------------


def test_a_ranking_gives_all_its_pairs_the_preferred_first(base: Base) -> None:
    found = pairs_of(base, mixed_index(), ITEMS, VECTORS)
    of_choice = list(zip(found.choice.tolist(), map(tuple, found.pairs.tolist()), strict=True))
    assert of_choice == [(0, (0, 1)), (0, (0, 2)), (0, (1, 2)), (1, (5, 4)), (2, (9, 8)), (3, (6, 7))]
    assert found.tie.tolist() == [False, False, True, False, False, True]
    assert len(found) == 6


def test_a_choice_shares_its_weight_among_its_pairs(base: Base) -> None:
    found = pairs_of(base, mixed_index(), ITEMS, VECTORS)
    assert found.weight.tolist() == [2.0, 2.0, 2.0, 2.0, 1.0, 0.5]


def test_nothing_to_train_on_is_refused(base: Base) -> None:
    nobody = mixed_index().select(torch.zeros(4, dtype=torch.bool))
    with pytest.raises(ChoiceError, match="no choice to train a policy on"):
        pairs_of(base, nobody, ITEMS, VECTORS)


def test_only_used_items_are_tokenised_and_a_prompt_once(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    dialogue, asked = Dialogue(base), []
    prompt = dialogue.prompt
    monkeypatch.setattr(dialogue, "prompt", lambda said: asked.append(said.text) or prompt(said))
    used = torch.tensor([True, True, False, True] + [False] * 7 + [True])
    rows, faults = tokenise(dialogue, ITEMS, used)
    assert not faults
    assert [row is not None for row in rows] == used.tolist()
    assert asked == ["q0", "q2"]
    for row, (text, response) in zip(rows, ITEMS, strict=True):
        if row is not None:
            assert base.tokenizer.decode(row[0]) == f"<s>{text}\n{response}</s>"
            assert row[1] == len(response) + 1


def test_items_that_cannot_be_trained_on_are_named_with_their_causes(chat_folder: Path) -> None:
    """All of them, and the others have their rows."""
    base = load_base(str(chat_folder))
    base.tokenizer.chat_template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('No system') }}{% endif %}"
        + base.tokenizer.chat_template
    )
    strict = Conversation.parse([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "q"}]).key
    items = [("q", "fine"), ("q", "word " * 40), (strict, "x"), (strict, "y"), ("r", " "), ("r", "also fine")]
    told: list[tuple[int, int]] = []
    rows, faults = tokenise(
        Dialogue(base), items, torch.ones(6, dtype=torch.bool), progress=lambda *counts: told.append(counts)
    )
    assert [row is not None for row in rows] == [True, False, False, False, False, True]
    assert list(faults) == [1, 2, 3, 4]
    assert "does not fit into 96" in faults[1]
    assert "No system" in faults[2]
    assert "empty" in faults[4]
    assert told == [(6, 6)]


# -- a batch -----------------------------------------------------------------------------------------------------------


def test_a_batch_lays_out_pairs_row_by_row(base: Base) -> None:
    found = pairs_of(base, mixed_index(), ITEMS, VECTORS)
    batch = found.collate([(0, 3), (0, 2)])
    assert batch.keys() == {"ids", "mask", "response", "z", "reference", "weight", "tie"}
    texts = [base.tokenizer.decode(ids[mask.bool()]) for ids, mask in zip(batch["ids"], batch["mask"], strict=True)]
    assert texts == [f"<s>{ITEMS[item][0]}\n{ITEMS[item][1]}</s>" for item in (5, 4, 1, 2)]
    assert batch["response"].tolist() == [7, 6, 3, 4]
    assert bool(batch["mask"][:, -1].all()), "rows end together"
    assert batch["ids"].shape == (4, len("q1\n") + 8)
    assert batch["reference"].tolist() == [[-5, -4], [-1, -2]]
    assert batch["weight"].tolist() == [2.0, 2.0]
    assert batch["tie"].tolist() == [False, True]
    assert batch["z"].shape == (2, 4)


def test_the_length_of_a_pair_is_that_of_its_longer_row(base: Base) -> None:
    found = pairs_of(base, mixed_index(), ITEMS, VECTORS)
    assert found.lengths().tolist() == [1 + 3 + longer + 1 for longer in (2, 3, 3, 6, 10, 8)]


# -- z -----------------------------------------------------------------------------------------------------------------


def inferred(index: ChoiceIndex, vectors: Tensor, rows: list[int]) -> Tensor:
    """The plain way: a batch of one user's choices, inferred."""
    reward, chosen = camp_reward(), torch.tensor(rows, dtype=torch.int64)
    batch = ChoiceBatch(
        vectors[index.items[chosen]].unsqueeze(0), index.rank[chosen].unsqueeze(0), index.weight[chosen].unsqueeze(0)
    )
    return reward.posterior(reward.infer(batch)).mean[0]


def test_contexts_give_the_posterior_of_the_same_choices() -> None:
    """Rankings, ties and weights too, and an empty context the prior."""
    index, reward = mixed_index(), camp_reward()
    contexts = torch.tensor([[0, 2, -1], [-1, -1, -1], [1, -1, -1], [2, 0, 1], [3, -1, -1]])
    found = context_latents(reward, index, choice_evidence(reward, index, VECTORS), contexts)
    for z, rows in zip(found, ([0, 2], [], [1], [0, 1, 2], [3]), strict=True):
        expected = inferred(index, VECTORS, rows) if rows else reward.posterior(reward.prior()).mean[0]
        assert_close(z, expected, rtol=1e-6, atol=1e-6)
    assert found.dtype == torch.float32
    assert (found[0] - found[2]).abs().max() > 0.01


def test_a_batch_carries_the_z_of_the_contexts_of_its_epoch(pairs: PolicyPairs, world: Camps) -> None:
    drawn = [(0, 3), (2, 3), (1, 17), (0, 30)]
    found = pairs.collate(drawn)["z"]
    for z, (epoch, number) in zip(found, drawn, strict=True):
        context = draw_contexts(world.train, pairs.choice[[number]], 4, seed=0, epoch=epoch)[0]
        rows = context[context >= 0].tolist()
        expected = inferred(world.train, world.vectors, rows) if rows else torch.zeros(4)
        assert_close(z, expected, rtol=1e-5, atol=1e-6)
    assert not torch.equal(found[0], found[1]), "another epoch, the same context"
    assert torch.equal(pairs.collate(drawn[::-1])["z"], found.flip(0))


def test_without_contexts_everybody_is_a_stranger(base: Base, world: Camps) -> None:
    pairs = pairs_of(base, world.train, world.items, world.vectors, max_context=0)
    assert pairs.latents(torch.arange(len(pairs)), 0).abs().max() == 0


def test_a_told_z_is_taken_as_it_is(base: Base, world: Camps) -> None:
    told = torch.arange(12.0).view(6, 2)
    pairs = pairs_of(base, world.train, world.items, world.vectors, told=told)
    batch = pairs.collate([(0, 3), (5, 3), (0, 20)])
    assert torch.equal(batch["z"], told[world.train.user[[3, 3, 20]]])
