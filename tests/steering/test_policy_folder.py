"""A saved policy comes back as it was, and what is not exactly that is refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from moved_policy import moved, refused, some_z
from tiny_base import save_base

from tacit.engines import Base, TransformersEngine, load_base, open_engine
from tacit.errors import ConfigError, ModelFormatError
from tacit.rewards import RewardConfig, RewardModel
from tacit.rewards.network import RewardNetwork
from tacit.steering import PolicyConfig, SteerablePolicy
from tacit.testing import random_choices
from tacit.testing.storage import DAMAGES

ITEMS = [("What is it?", "a cat"), ("Say a word", "x"), ("Q", "many words")]
CONFIGS = {
    "gated_lora": PolicyConfig(),
    "some sites": PolicyConfig.model_validate(
        {"modulator": {"rank": 2, "alpha": 1.5, "targets": ("v_proj",), "blocks": (-1,)}}
    ),
    "soft token": PolicyConfig.model_validate({"modulator": "soft_token", "template": "plain"}),
    "film": PolicyConfig.model_validate({"modulator": "film", "template": "plain", "max_length": 50, "max_norm": 1.0}),
}


@pytest.fixture
def saved(policy: SteerablePolicy, tmp_path: Path) -> Path:
    policy.save(tmp_path / "policy")
    return tmp_path / "policy"


def same_weights(first: SteerablePolicy, second: SteerablePolicy) -> bool:
    ours, theirs = first.modulator.state_dict(), second.modulator.state_dict()
    return list(ours) == list(theirs) and all(torch.equal(ours[name], theirs[name]) for name in ours)


# -- there and back ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_loaded_policy_is_the_saved_one_bit_for_bit(
    config: PolicyConfig, base: Base, reward: RewardModel, tmp_path: Path
) -> None:
    """For users of before, and with its settings and notes."""
    made = moved(SteerablePolicy.new(base, reward, config))
    made.notes.update({"accuracy": 0.75, "steps": [1, 2], "data": {"name": "é"}})
    states = reward.infer(random_choices(3, 5, 64, dtype=torch.float32))
    made.save(tmp_path / "policy")
    again = SteerablePolicy.load(tmp_path / "policy")
    assert (again.config, again.notes) == (made.config, made.notes)
    assert (again.base, again.sites) == (made.base, made.sites)
    assert again.reward.fingerprint == reward.fingerprint
    before, after = made.modulator.state_dict(), again.modulator.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)
    with open_engine(again) as opened, TransformersEngine(base, made) as engine:
        for z in (some_z(3), made.latents(states)):
            assert torch.equal(opened.log_probs(ITEMS, z), engine.log_probs(ITEMS, z))
    assert torch.equal(again.reward.posterior(states).mean, reward.posterior(states).mean)


def test_a_loaded_policy_can_be_trained_on(saved: Path) -> None:
    policy = SteerablePolicy.load(saved)
    weights = list(policy.modulator.parameters())
    assert weights
    assert all(weight.requires_grad for weight in weights)


def test_loading_touches_nobodys_random_state(saved: Path) -> None:
    before = torch.get_rng_state()
    SteerablePolicy.load(saved)
    assert torch.equal(torch.get_rng_state(), before)


def test_saving_again_replaces_the_whole_folder(policy: SteerablePolicy, saved: Path) -> None:
    (saved / "stale").write_text("of the old policy")
    moved(policy, seed=9).save(saved)
    assert sorted(path.name for path in saved.iterdir()) == ["config.json", "model.safetensors", "reward"]
    assert [path.name for path in saved.parent.iterdir()] == ["policy"]
    assert same_weights(SteerablePolicy.load(saved), policy)


def test_a_save_that_fails_leaves_the_old_folder_and_nothing_else(
    policy: SteerablePolicy, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("disk full")

    expected = SteerablePolicy.load(saved)
    moved(policy, seed=9)
    monkeypatch.setattr(RewardModel, "write_files", full)
    for folder in (saved, saved.parent / "new"):
        with pytest.raises(OSError, match="disk full"):
            policy.save(folder)
    assert [path.name for path in saved.parent.iterdir()] == ["policy"]
    assert same_weights(SteerablePolicy.load(saved), expected)
    assert not same_weights(expected, policy)


# -- the base ----------------------------------------------------------------------------------------------------------


def test_a_base_given_by_a_relative_path_is_found_from_anywhere(
    base_folder: Path, reward: RewardModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(base_folder.parent)
    SteerablePolicy.new(load_base(base_folder.name), reward).save(tmp_path / "policy")
    monkeypatch.chdir(tmp_path)
    assert SteerablePolicy.load("policy").base.name == str(base_folder)


def test_a_base_that_has_moved_can_be_named(saved: Path, base_folder: Path, tmp_path: Path) -> None:
    """It must hold the same files, wherever they lie."""
    file = saved / "config.json"
    config = json.loads(file.read_text())
    config["base"]["name"] = str(tmp_path / "gone")
    file.write_text(json.dumps(config))
    assert SteerablePolicy.load(saved).base.name.endswith("gone")
    assert "gone" in refused(lambda: open_engine(saved), ConfigError)
    shutil.copytree(base_folder, tmp_path / "copy")
    found = [
        open_engine(saved, base=str(folder)).log_probs(ITEMS, some_z(3)) for folder in (base_folder, tmp_path / "copy")
    ]
    assert torch.equal(*found)


def test_another_base_is_refused(saved: Path, tmp_path: Path) -> None:
    """Also one of the same shape: only its weights are others."""
    other = save_base(tmp_path / "other", seed=1)
    message = refused(lambda: open_engine(saved, base=str(other)), ConfigError)
    assert "not the one this policy was trained on" in message
    assert str(other) in message


@pytest.mark.parametrize("broken", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_base_that_is_incomplete_is_refused(saved: Path, base_folder: Path, tmp_path: Path, broken: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(base_folder, copy)
    data = (copy / broken).read_bytes()
    (copy / broken).write_bytes(data[: len(data) // 2])
    assert "copy" in refused(lambda: open_engine(saved, base=str(copy)), ConfigError)
    (copy / broken).unlink()
    assert "copy" in refused(lambda: open_engine(saved, base=str(copy)), ConfigError)


# -- damage ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("part", ["", "reward"])
def test_a_damaged_folder_is_refused(saved: Path, part: str, damage: Callable[[Path], object]) -> None:
    damage(saved / part)
    message = refused(lambda: SteerablePolicy.load(saved), ModelFormatError)
    assert str(saved / part) in message


@pytest.mark.parametrize("key", ["base", "sites", "latent", "reward", "policy", "notes"])
def test_every_key_of_the_config_is_needed(saved: Path, key: str) -> None:
    config = json.loads((saved / "config.json").read_text())
    del config[key]
    (saved / "config.json").write_text(json.dumps(config))
    assert key in refused(lambda: SteerablePolicy.load(saved), ModelFormatError)


@pytest.mark.parametrize(
    "change",
    [
        {"rank": 4},
        {"kind": "film"},
        {"rank": 0},
        {"alpha": float("nan")},
        {"kind": "steering_vector"},
        {"depth": 1},
    ],
    ids=str,
)
def test_a_modulator_that_is_not_the_saved_one_is_refused(saved: Path, change: dict) -> None:
    config = json.loads((saved / "config.json").read_text())
    config["policy"]["modulator"].update(change)
    (saved / "config.json").write_text(json.dumps(config))
    refused(lambda: SteerablePolicy.load(saved), ModelFormatError)


@pytest.mark.parametrize("change", [{"inputs": 25}, {"outputs": 0}, {"name": None}, {"depth": 1}], ids=str)
def test_sites_that_are_not_the_saved_ones_are_refused(saved: Path, change: dict) -> None:
    config = json.loads((saved / "config.json").read_text())
    config["sites"][3].update(change)
    (saved / "config.json").write_text(json.dumps(config))
    refused(lambda: SteerablePolicy.load(saved), ModelFormatError)


def test_a_site_that_the_base_does_not_have_is_refused_where_it_is_opened(saved: Path, base: Base) -> None:
    config = json.loads((saved / "config.json").read_text())
    config["sites"][3]["name"] = "model.layers.0.self_attn.gone"
    (saved / "config.json").write_text(json.dumps(config))
    policy = SteerablePolicy.load(saved)
    assert "self_attn.gone is no module" in refused(lambda: TransformersEngine(base, policy), ConfigError)
    assert not any("forward" in vars(part) for part in base.model.modules())


def test_the_reward_model_of_another_policy_is_refused(saved: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    other = RewardModel(RewardNetwork(64, RewardConfig(members=1, latent=4)).eval())
    shutil.rmtree(saved / "reward")
    other.save(saved / "reward")
    message = refused(lambda: SteerablePolicy.load(saved), ModelFormatError)
    assert "two policies" in message
    shutil.rmtree(saved / "reward")
    refused(lambda: SteerablePolicy.load(saved), ModelFormatError)


def test_a_reward_model_is_no_policy(saved: Path) -> None:
    assert "np_dpo" in refused(lambda: SteerablePolicy.load(saved / "reward"), ModelFormatError)
    assert "train-policy" in refused(lambda: SteerablePolicy.load(saved.parent / "nowhere"), ModelFormatError)
