"""The loss of one batch, against the same worked out pair by pair through the policy's own log-probabilities."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import families
import pytest
import torch
from moved_policy import moved
from policy_problems import camp_reward, camps, pairs_of, short
from tiny_base import byte_tokenizer
from torch import Tensor
from torch.testing import assert_close

from tacit.engines import Base, TransformersEngine, load_base
from tacit.objectives.dpo import distilled_loss, preference_loss
from tacit.policies.base_log_probs import reference_log_probs
from tacit.policies.pairs import PolicyPairs
from tacit.policies.steered_pairs import SteeredPairs, checkpointed, length_groups
from tacit.steering import SteerablePolicy

Batch = dict[str, Tensor]
WORLD = camps(users=6, choices=6, prompts=16)
DRAWN = [(0, 0), (0, 8), (1, 13), (0, 21), (0, 22), (3, 30)]
CLOSE: dict[str, Any] = {"rtol": 1e-5, "atol": 2e-5}


def opened(base: Base, *, new: bool = False) -> TransformersEngine:
    policy = SteerablePolicy.new(base, camp_reward())
    return TransformersEngine(base, policy if new else moved(policy))


@pytest.fixture
def engine(base: Base) -> TransformersEngine:
    return opened(base)


@pytest.fixture
def pairs(engine: TransformersEngine) -> PolicyPairs:
    """With the base's own log-probabilities, weights that differ, and a tie."""
    found = pairs_of(engine.base, WORLD.train, WORLD.items, WORLD.vectors)
    tie = torch.arange(len(found)) == DRAWN[3][1]
    weight = 0.5 + torch.rand(len(found), generator=torch.Generator().manual_seed(0))
    return replace(found, reference=reference_log_probs(engine, found.rows), tie=tie, weight=weight)


@pytest.fixture
def batch(pairs: PolicyPairs) -> Batch:
    return pairs.collate(DRAWN)


def gradients(steered: SteeredPairs, batch: Batch) -> Tensor:
    steered.zero_grad()
    steered(**batch)["loss"].backward()
    return torch.cat([p.grad.flatten() for p in steered.modulator.parameters() if p.grad is not None])


def texts(pairs: PolicyPairs, number: int) -> list[tuple[str, str]]:
    return [WORLD.items[item] for item in pairs.pairs[number].tolist()]


def margins(engine: TransformersEngine, pairs: PolicyPairs, batch: Batch) -> Tensor:
    """Pair by pair and response by response."""
    found = []
    for (_, number), z in zip(DRAWN, batch["z"], strict=True):
        preferred, rejected = (
            engine.log_probs([item], z.unsqueeze(0)) - engine.log_probs([item], None) for item in texts(pairs, number)
        )
        found.append(preferred - rejected)
    return torch.cat(found)


# -- the loss ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chosen", [{}, {"beta": 0.5}], ids=str)
def test_the_loss_is_the_weighted_mean_over_pairs(
    engine: TransformersEngine, pairs: PolicyPairs, batch: Batch, chosen: dict[str, Any]
) -> None:
    config = short(**chosen)
    outputs = SteeredPairs(engine, config)(**batch)
    expected = margins(engine, pairs, batch)
    assert_close(outputs["margin"], expected, rtol=1e-4, atol=1e-4)
    assert not outputs["margin"].requires_grad
    each = preference_loss(expected, beta=config.beta, tie=batch["tie"])
    assert_close(outputs["loss"], (each * batch["weight"]).mean(), **CLOSE)
    assert expected.abs().min() > 0.01
    assert batch["tie"].sum() == 1


def test_a_gap_is_learnt_in_place_of_the_choice(engine: TransformersEngine, pairs: PolicyPairs, batch: Batch) -> None:
    """Whatever was tied."""
    gap = torch.tensor([0.0, 1.0, 0.3, 8.0, 2.0, 0.1])
    expected = margins(engine, pairs, batch)
    each = distilled_loss(expected, gap, beta=0.5)
    outputs = SteeredPairs(engine, short(beta=0.5))(**batch, gap=gap)
    assert_close(outputs["margin"], expected, rtol=1e-4, atol=1e-4)
    assert_close(outputs["loss"], (each * batch["weight"]).mean(), **CLOSE)


def test_a_new_policy_starts_at_log_2(base: Base, batch: Batch) -> None:
    steered = SteeredPairs(opened(base, new=True), short())
    outputs = steered(**batch | {"weight": torch.ones(len(DRAWN))})
    assert_close(outputs["loss"].item(), 0.6931472, rtol=0, atol=1e-5)
    assert_close(outputs["margin"], torch.zeros(len(DRAWN)), rtol=0, atol=1e-4)


def test_only_the_modulator_is_trained(engine: TransformersEngine, batch: Batch) -> None:
    steered = SteeredPairs(engine, short())
    assert {id(p) for p in steered.parameters() if p.requires_grad} == {
        id(p) for p in engine.policy.modulator.parameters()
    }
    assert gradients(steered, batch).abs().max() > 0
    assert all(p.grad is None for p in engine.base.model.parameters())


@pytest.mark.parametrize("division", ["whole", "single", "mixed"])
def test_how_rows_are_grouped_changes_nothing(
    engine: TransformersEngine, batch: Batch, division: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    steered = SteeredPairs(engine, short(sft_weight=0.3))
    expected, slopes = steered(**batch), gradients(steered, batch)
    divisions = {"whole": [range(12)], "single": [[row] for row in range(12)], "mixed": [[7, 0, 11], [2, 9, 4, 1]]}
    groups = [list(group) for group in divisions[division]]
    rest = sorted(set(range(12)) - {row for group in groups for row in group})
    asked: list[list[int]] = []
    monkeypatch.setattr(
        "tacit.policies.steered_pairs.length_groups",
        lambda lengths: asked.append(lengths) or [*groups, *([rest] if rest else [])],
    )
    assert_close(steered(**batch), expected, rtol=1e-4, atol=2e-5)
    assert_close(gradients(steered, batch), slopes, rtol=1e-3, atol=1e-4)
    assert asked[0] == batch["mask"].sum(1).tolist()


# -- anchors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chosen", [{}, {"beta": 0.5}], ids=str)
def test_the_sft_anchor_is_beta_times_the_preferred_responses_nll(
    engine: TransformersEngine, pairs: PolicyPairs, batch: Batch, chosen: dict[str, Any]
) -> None:
    """Of whole responses, in the same nats as margins."""
    plain, anchored = (
        SteeredPairs(engine, short(sft_weight=weight, **chosen))(**batch)["loss"] for weight in (0.0, 0.7)
    )
    nll = -engine.log_probs([texts(pairs, number)[0] for _, number in DRAWN], batch["z"])
    beta = chosen.get("beta", 0.1)
    assert_close(anchored - plain, 0.7 * beta * (nll * batch["weight"]).mean(), rtol=1e-4, atol=1e-4)


# -- the base's mode ---------------------------------------------------------------------------------------------------


@pytest.fixture
def dropping(gpt2_folder: Path) -> TransformersEngine:
    """On a base with dropout."""
    base = load_base(str(gpt2_folder))
    assert base.model.config.resid_pdrop == base.model.config.attn_pdrop == 0.1
    return opened(base)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_base_with_dropout_drops_nothing(dropping: TransformersEngine, batch: Batch, checkpointing: bool) -> None:
    steered = SteeredPairs(dropping, short(activation_checkpointing=checkpointing))
    expected = steered.eval()(**batch)
    with checkpointed(dropping.base.model):
        steered.train()
        assert steered.training
        assert steered.modulator.training
        assert not dropping.base.model.training
        for _ in range(2):
            assert torch.equal(steered(**batch)["margin"], expected["margin"])


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_checkpointed_gradients_are_the_same_bit_for_bit(
    family: str, engine: TransformersEngine, dropping: TransformersEngine, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several groups run before backward, each with signals of its own, and each is computed again with its own."""
    monkeypatch.setattr("tacit.policies.steered_pairs.length_groups", partial(length_groups, overhead=0))
    groups = len(length_groups(batch["mask"].sum(1).tolist(), overhead=0))
    assert groups > 3
    chosen = dropping if family == "gpt2" else engine
    plain, model = SteeredPairs(chosen, short(sft_weight=0.3)).train(), chosen.base.model
    expected, ran = gradients(plain, batch), []
    before = [dict(vars(part)) for part in model.modules()]
    handle = model.get_submodule(plain.modulator.sites[0].name).register_forward_hook(lambda *_: ran.append(1))
    again = SteeredPairs(chosen, short(sft_weight=0.3, activation_checkpointing=True))
    with checkpointed(model):
        again.train()
        assert torch.equal(gradients(again, batch), expected)
    assert len(ran) == 2 * groups, "each group: steered, and steered again in backward"
    handle.remove()
    assert [dict(vars(part)) for part in model.modules()] == before, "the base is not as it was"


def test_blocks_that_drop_out_by_their_own_mode_do_not_either(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpointing needs blocks in training mode, and some families ask the block itself whether to drop out."""
    monkeypatch.setitem(families.OWN, "falcon", {"hidden_dropout": 0.5, "attention_dropout": 0.5})
    base = Base("falcon", Path(), "", families.tiny("falcon"), byte_tokenizer(context=64), 64)
    engine = opened(base)
    ids = torch.randint(3, 60, (4, 9), generator=torch.Generator().manual_seed(0))
    batch = {
        "ids": ids, "mask": torch.ones_like(ids), "response": torch.tensor([3, 4, 5, 6]), "z": torch.randn(2, 4),
        "reference": torch.zeros(2, 2), "weight": torch.ones(2), "tie": torch.zeros(2, dtype=torch.bool),
    }  # fmt: skip
    expected = gradients(SteeredPairs(engine, short()).train(), batch)
    again = SteeredPairs(engine, short(activation_checkpointing=True))
    with checkpointed(base.model):
        again.train()
        assert torch.equal(gradients(again, batch), expected)
    careless = families.tiny("falcon").train()
    assert not torch.equal(careless(input_ids=ids).logits, careless(input_ids=ids).logits), "it has nothing to drop"
