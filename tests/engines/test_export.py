"""One user's policy as an ordinary LoRA: stock peft on the stock base says the same, or nothing is written."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from moved_policy import moved, refused, some_z
from peft import PeftModel
from safetensors.torch import load_file
from tiny_base import save_base
from torch import Tensor
from transformers import AutoModelForCausalLM

from tacit.engines import Base, TransformersEngine, export_adapter, load_base
from tacit.errors import ConfigError, TacitError
from tacit.rewards import RewardModel
from tacit.steering import Lora, PolicyConfig, SteerablePolicy
from tacit.steering.modulators import GatedLoRA
from tacit.testing import random_choices

IDS = torch.randint(3, 200, (2, 20), generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def live_and_plain(base: Base, policy: SteerablePolicy, z: Tensor) -> tuple[Tensor, Tensor]:
    with TransformersEngine(base, policy) as engine, engine.steered(z) as model:
        live = model(input_ids=IDS).logits
    return live, base.model(input_ids=IDS).logits


@torch.no_grad()
def by_peft(base: str, adapter: Path) -> Tensor:
    """What somebody computes who has never heard of tacit."""
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    return PeftModel.from_pretrained(model, adapter).eval()(input_ids=IDS).logits


@pytest.mark.parametrize("rank", [1, 8])
def test_stock_peft_on_the_stock_base_is_the_users_policy(
    base: Base, reward: RewardModel, tmp_path: Path, rank: int
) -> None:
    policy = moved(
        SteerablePolicy.new(base, reward, PolicyConfig.model_validate({"modulator": {"rank": rank, "alpha": 3}}))
    )
    found = export_adapter(policy, some_z(), tmp_path / "adapter")
    assert found.folder == tmp_path / "adapter"
    live, plain = live_and_plain(base, policy, some_z())
    difference, change = (by_peft(base.name, found.folder) - live).abs().max(), (live - plain).abs().max()
    assert change > 0.5
    assert difference <= 1e-5 * max(1.0, float(live.abs().max()))
    assert change > 1000 * difference
    assert found.difference <= found.tolerance
    assert found.moved > 1000 * found.difference


def test_an_adapter_holds_one_users_gates(
    base: Base, policy: SteerablePolicy, reward: RewardModel, tmp_path: Path
) -> None:
    """Of states as of z; another user's is another."""
    states = reward.infer(random_choices(1, 5, 64, dtype=torch.float32))
    for name, user in (("a", some_z()), ("b", -some_z()), ("c", states)):
        export_adapter(policy, user, tmp_path / name)
        live, _ = live_and_plain(base, policy, policy.latents(user))
        torch.testing.assert_close(by_peft(base.name, tmp_path / name), live, rtol=1e-4, atol=1e-3)
    first, second = (by_peft(base.name, tmp_path / name) for name in ("a", "b"))
    assert (first - second).abs().max() > 0.5


def test_the_folder_is_what_engines_read(policy: SteerablePolicy, tmp_path: Path) -> None:
    """Every scale inside B (alpha = rank), last names as targets, nothing that only some engines know."""
    export_adapter(policy, some_z(), tmp_path / "adapter")
    assert sorted(file.name for file in (tmp_path / "adapter").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["r"] == config["lora_alpha"] == 8
    assert config["target_modules"] == ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
    assert (config["peft_type"], config["task_type"]) == ("LORA", "CAUSAL_LM")
    assert not config["fan_in_fan_out"]
    tensors = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert len(tensors) == 2 * 7 * 2
    key = "base_model.model.model.layers.1.mlp.up_proj"
    assert tensors[f"{key}.lora_A.weight"].shape == (8, 24)
    assert tensors[f"{key}.lora_B.weight"].shape == (32, 8)
    assert {value.dtype for value in tensors.values()} == {torch.float32}


def test_chosen_blocks_alone_are_exported(base: Base, reward: RewardModel, tmp_path: Path) -> None:
    """Their last names stand in other blocks too, so they are named in full."""
    config = PolicyConfig.model_validate({"modulator": {"blocks": (0,), "targets": ("q_proj", "up_proj")}})
    policy = moved(SteerablePolicy.new(base, reward, config))
    found = export_adapter(policy, some_z(), tmp_path / "adapter")
    assert found.moved > 1000 * found.difference
    written = json.loads((found.folder / "adapter_config.json").read_text())["target_modules"]
    assert written == ["model.layers.0.mlp.up_proj", "model.layers.0.self_attn.q_proj"]
    assert all(".layers.0." in name for name in load_file(found.folder / "adapter_model.safetensors"))
    live, _ = live_and_plain(base, policy, some_z())
    torch.testing.assert_close(by_peft(base.name, found.folder), live, rtol=1e-4, atol=1e-3)


def test_gpt2s_transposed_maps_export_too(gpt2_folder: Path, reward: RewardModel, tmp_path: Path) -> None:
    base = load_base(str(gpt2_folder))
    policy = moved(SteerablePolicy.new(base, reward))
    found = export_adapter(policy, some_z(), tmp_path / "adapter")
    assert found.moved > 1000 * found.difference
    assert json.loads((found.folder / "adapter_config.json").read_text())["fan_in_fan_out"]
    live, _ = live_and_plain(base, policy, some_z())
    torch.testing.assert_close(by_peft(str(gpt2_folder), found.folder), live, rtol=1e-4, atol=1e-3)


def test_exporting_leaves_the_policy_as_it_was(base: Base, policy: SteerablePolicy, tmp_path: Path) -> None:
    """The adapter is tried on another copy of the base."""
    before, weights = live_and_plain(base, policy, some_z()), policy.modulator.state_dict()
    names = [name for name, _ in base.model.named_modules()]
    random = torch.get_rng_state()
    export_adapter(policy, some_z(), tmp_path / "adapter")
    assert torch.equal(torch.get_rng_state(), random)
    assert [name for name, _ in base.model.named_modules()] == names
    assert all(map(torch.equal, before, live_and_plain(base, policy, some_z())))
    assert all(torch.equal(value, weights[name]) for name, value in policy.modulator.state_dict().items())


def test_film_is_no_ordinary_adapter(film_engine: TransformersEngine, tmp_path: Path) -> None:
    policy: Any = film_engine.policy
    message = refused(lambda: export_adapter(policy, some_z(), tmp_path / "adapter"), ConfigError)
    assert "FiLM" in message
    assert "'gated_lora'" in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("users", [0, 2])
def test_an_adapter_is_of_exactly_one_user(policy: SteerablePolicy, tmp_path: Path, users: int) -> None:
    message = refused(lambda: export_adapter(policy, some_z(users), tmp_path / "adapter"), ConfigError)
    assert f"found {users}" in message
    assert list(tmp_path.iterdir()) == []


def no_gates(self: GatedLoRA, z: Tensor) -> Lora:
    return FOLD(self, 0 * z)


def one_site_off(self: GatedLoRA, z: Tensor) -> Lora:
    folded = FOLD(self, z)
    name = next(iter(folded))
    return {**folded, name: (folded[name][0], folded[name][1] * 1.001)}


def not_a_number(self: GatedLoRA, z: Tensor) -> Lora:
    return {name: (down, up * float("nan")) for name, (down, up) in FOLD(self, z).items()}


FOLD = GatedLoRA.fold


@pytest.mark.parametrize("wrong", [no_gates, one_site_off, not_a_number])
def test_an_adapter_that_says_anything_else_is_not_written(
    policy: SteerablePolicy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: Callable[..., Any]
) -> None:
    """An older one stays as it was."""
    export_adapter(policy, some_z(), tmp_path / "old")
    before = (tmp_path / "old" / "adapter_model.safetensors").read_bytes()
    monkeypatch.setattr(GatedLoRA, "fold", wrong)
    for name in ("new", "old"):
        message = refused(lambda name=name: export_adapter(policy, -some_z(), tmp_path / name), TacitError)
        assert "nothing was written" in message
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert (tmp_path / "old" / "adapter_model.safetensors").read_bytes() == before


def test_a_base_that_has_changed_since_is_refused(reward: RewardModel, tmp_path: Path) -> None:
    folder = save_base(tmp_path / "base")
    policy = moved(SteerablePolicy.new(load_base(str(folder)), reward))
    save_base(folder, seed=1)
    message = refused(lambda: export_adapter(policy, some_z(), tmp_path / "adapter"), ConfigError)
    assert "not the one this policy was trained on" in message
    gone = replace(policy, base=replace(policy.base, name=str(tmp_path / "gone")))
    refused(lambda: export_adapter(gone, some_z(), tmp_path / "adapter"), ConfigError)
    assert [path.name for path in tmp_path.iterdir()] == ["base"]
