"""NP-DPO for one z is plain DPO of the LoRA that the policy folds into: TRL's own trainer finds the same numbers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from moved_policy import moved
from peft import PeftModel
from policy_problems import camp_reward, camps, pairs_of, short
from torch.testing import assert_close
from trl import DPOConfig, DPOTrainer

from tacit.engines import Base, TransformersEngine, load_base
from tacit.policies.base_log_probs import reference_log_probs
from tacit.policies.pairs import PolicyPairs
from tacit.policies.steered_pairs import SteeredPairs
from tacit.steering import SteerablePolicy, write_adapter

WORLD = camps(users=6, choices=6, prompts=16)
NUMBERS = [0, 8, 13, 21, 22, 30]
Z = torch.randn(2, 4, generator=torch.Generator().manual_seed(5))
CLOSE: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture
def engine(base: Base) -> TransformersEngine:
    return TransformersEngine(base, moved(SteerablePolicy.new(base, camp_reward())))


def all_pairs(engine: TransformersEngine, z: torch.Tensor) -> PolicyPairs:
    """With one z told to everybody, and references of the base itself."""
    told = z.expand(WORLD.train.n_users, -1)
    pairs = pairs_of(engine.base, WORLD.train, WORLD.items, WORLD.vectors, told=told)
    return replace(pairs, reference=reference_log_probs(engine, pairs.rows))


class Theirs:
    """TRL's trainer on fresh copies of the base, one of them with an adapter of ours."""

    def __init__(
        self, engine: TransformersEngine, z: torch.Tensor, folder: Path, pairs: PolicyPairs, **more: Any
    ) -> None:
        adapter = folder / "adapter"
        adapter.mkdir()
        policy: Any = engine.policy
        write_adapter(policy.fold(z.unsqueeze(0)), policy.sites, engine.base.name, adapter)
        fresh, reference = (load_base(engine.base.name) for _ in range(2))
        texts = [[WORLD.items[item] for item in pairs.pairs[number].tolist()] for number in NUMBERS]
        rows = {
            "prompt": [f"{preferred[0]}\n" for preferred, _ in texts],
            "chosen": [preferred[1] for preferred, _ in texts],
            "rejected": [rejected[1] for _, rejected in texts],
        }
        arguments = DPOConfig(
            output_dir=str(folder / "trl"), report_to="none", use_cpu=True, disable_tqdm=True, bf16=False,
            max_length=None, activation_checkpointing=False, **more,
        )  # fmt: skip
        self.trainer = DPOTrainer(
            model=PeftModel.from_pretrained(fresh.model, adapter, is_trainable=True),
            ref_model=reference.model,
            args=arguments,
            train_dataset=Dataset.from_dict(rows),
            processing_class=fresh.tokenizer,
        )
        self.examples = [dict(row) for row in self.trainer.train_dataset]

    def loss(self, examples: list[dict[str, Any]]) -> torch.Tensor:
        return self.trainer.compute_loss(self.trainer.model, self.trainer.data_collator(examples))

    def measured(self, name: str) -> float:
        """The latest of a number that the trainer notes."""
        return self.trainer._metrics["train"][name][-1]


@pytest.mark.parametrize("fresh", [True, False])
def test_losses_log_probabilities_and_gradients_are_trls(
    base: Base, engine: TransformersEngine, fresh: bool, tmp_path: Path
) -> None:
    """Of a policy that is still the base, and of one that is far from it."""
    engine = TransformersEngine(base, SteerablePolicy.new(base, camp_reward())) if fresh else engine
    pairs = all_pairs(engine, Z[:1])
    theirs = Theirs(engine, Z[0], tmp_path, pairs, beta=0.3)
    steered = SteeredPairs(engine, short(beta=0.3))
    outputs = steered(**pairs.collate([(0, number) for number in NUMBERS]))
    loss = theirs.loss(theirs.examples)
    assert_close(outputs["loss"], loss, **CLOSE)

    items = [[WORLD.items[item] for item in pairs.pairs[number].tolist()] for number in NUMBERS]
    for margin, texts, example in zip(outputs["margin"], items, theirs.examples, strict=True):
        theirs.loss([example])
        own = engine.log_probs(texts, Z[:1])
        noted = torch.tensor([theirs.measured("logps/chosen"), theirs.measured("logps/rejected")])
        assert_close(own, noted, **CLOSE)
        assert_close(0.3 * margin, torch.tensor(theirs.measured("rewards/margins")), **CLOSE)

    outputs["loss"].backward()
    loss.backward()
    modulator: Any = steered.modulator
    signal = modulator.signal(Z[:1])[:, 0]
    slopes = {name: p.grad for name, p in theirs.trainer.model.named_parameters() if p.grad is not None}
    for number, site in enumerate(modulator.sites):
        down, up = (slopes[f"base_model.model.{site.name}.lora_{side}.default.weight"] for side in "AB")
        assert_close(modulator.down[number].grad, down, **CLOSE)
        assert_close(modulator.up[number].grad.T, up * signal[number], **CLOSE)
    assert any(p.grad.abs().max() > 1e-3 for p in modulator.up)
    assert fresh == (max(p.grad.abs().max() for p in modulator.down) == 0)


def test_a_batch_of_several_users_is_as_many_trainers(engine: TransformersEngine, tmp_path: Path) -> None:
    """Each user has a LoRA of their own there, and only a z here."""
    pairs = all_pairs(engine, Z[:1])
    batch = pairs.collate([(0, number) for number in NUMBERS])
    batch["z"] = Z[[0, 1, 1, 0, 1, 0]]
    margins = SteeredPairs(engine, short())(**batch)["margin"]
    for user, z in enumerate(Z):
        folder = tmp_path / str(user)
        folder.mkdir()
        theirs = Theirs(engine, z, folder, pairs, beta=1.0)
        for place in (batch["z"] == z).all(1).nonzero().flatten().tolist():
            theirs.loss([theirs.examples[place]])
            assert_close(margins[place], torch.tensor(theirs.measured("rewards/margins")), rtol=1e-5, atol=5e-5)
    exchanged = SteeredPairs(engine, short())(**batch | {"z": Z[[1, 0, 0, 1, 0, 1]]})["margin"]
    assert (exchanged - margins).abs().max() > 0.1, "z hardly matters"
