"""How a policy is trained: the same weights however a step is divided, stops in time, and what it refuses."""

import json
import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest
import torch
from policy_problems import camp_reward, camps, fit, pairs_of, short, small, weights
from torch.testing import assert_close

import tacit.policies.fit as module
import tacit.policies.implicit_reward as validation
from tacit.engines import Base, TransformersEngine
from tacit.errors import ConfigError, ModelFormatError, OutputError
from tacit.policies import PolicyTrainingConfig
from tacit.policies.steered_pairs import SteeredPairs
from tacit.policies.trainer import PolicyTrainer
from tacit.steering import SteerablePolicy
from tacit.training.loop import warmup_cosine


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


class Steps:
    """The steps that a run takes."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def __call__(self, event: dict[str, Any]) -> None:
        if (event["event"], event["name"]) == ("step", "policy"):
            self.steps.append(event["step"])


# -- the trajectory ----------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_weights_bit_for_bit(base: Base, tmp_path: Path) -> None:
    """Whatever the global random state is; another seed gives others."""
    torch.manual_seed(1)
    first = fit(base, tmp_path / "first")
    torch.manual_seed(2)
    assert torch.equal(weights(fit(base, tmp_path / "second")), weights(first))
    other = fit(base, tmp_path / "other", training=short(seed=1, max_steps=2))
    assert (weights(other) - weights(first)).abs().max() > 0.1


def test_two_accumulated_halves_are_one_batch(base: Base, tmp_path: Path) -> None:
    whole = fit(base, tmp_path / "whole", training=short(per_device_train_batch_size=4))
    halves = fit(
        base, tmp_path / "halves", training=short(per_device_train_batch_size=2, gradient_accumulation_steps=2)
    )
    assert_close(weights(halves), weights(whole), rtol=0, atol=1e-5)
    losses = [[line["loss"] for line in lines(tmp_path / name)] for name in ("whole", "halves")]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_activation_checkpointing_changes_nothing(base: Base, tmp_path: Path) -> None:
    plain = fit(base, tmp_path / "plain")
    ran = fit(base, tmp_path / "again", training=short(activation_checkpointing=True))
    assert torch.equal(weights(ran), weights(plain))


def test_film_is_trained_as_well(base: Base, tmp_path: Path) -> None:
    policy = fit(base, tmp_path, config=small(kind="film"))
    assert policy.modulator.weight.abs().max() > 0.005
    assert policy.modulator.bias.abs().max() > 0.005


def test_the_learning_rate_warms_up_and_falls_as_a_cosine(base: Base, tmp_path: Path) -> None:
    fit(base, tmp_path, training=short(max_steps=20, eval_steps=1))
    used = [line["learning_rate"] for line in lines(tmp_path) if "learning_rate" in line]
    assert used == pytest.approx([0.01 * warmup_cosine(step, 20, 0.1) for step in range(20)])
    assert used[-1] < used[0] < used[1]


def test_long_gradients_are_cut(base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Far below Adam's epsilon, even its steps are short."""
    monkeypatch.setattr("tacit.policies.trainer._CLIP", 1e-12)
    start = SteerablePolicy.new(base, camp_reward(), small())
    cut = fit(base, tmp_path, training=short(max_steps=2))
    assert 0 < (weights(cut) - weights(start)).abs().max() < 0.01 * 0.01


# -- validation and stopping -------------------------------------------------------------------------------------------


def test_the_last_step_is_validated_wherever_it_falls(base: Base, tmp_path: Path) -> None:
    policy = fit(base, tmp_path / "a", training=short(max_steps=5, eval_steps=3))
    assert [line["step"] for line in lines(tmp_path / "a") if "accuracy" in line] == [3, 5]
    assert policy.notes["steps"] == 5
    policy = fit(base, tmp_path / "b", training=short(max_steps=3, eval_steps=100))
    assert policy.notes["best_step"] == 3
    assert policy.modulator.up[0].abs().max() > 0, "a run shorter than the first validation returned no training"


@pytest.mark.parametrize(
    ("pairs", "processes", "steps"),
    [(10, 1, 100), (2400, 1, 900), (2401, 1, 901), (2401, 2, 451), (10**6, 1, 1000)],
)
def test_by_default_every_pair_is_seen_three_times(pairs: int, processes: int, steps: int) -> None:
    """Within bounds, and for any number of processes; a number that is given is obeyed."""
    config = PolicyTrainingConfig(per_device_train_batch_size=4, gradient_accumulation_steps=2)
    assert config.steps(pairs, processes) == steps
    assert config.model_copy(update={"max_steps": 7}).steps(pairs, processes) == 7


def test_a_run_of_default_length_says_how_long_it_is(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tacit.policies.training_config._FEWEST", 5)
    steps = Steps()
    policy = fit(base, tmp_path, training=short(max_steps=None, per_device_train_batch_size=64), on_event=steps)
    expected = 3 * len(camps().train) // 64
    assert expected > 5
    assert steps.steps == list(range(1, expected + 1))
    assert policy.notes["steps"] == policy.notes["training"]["max_steps"] == expected


def scripted(monkeypatch: pytest.MonkeyPatch, *losses: float) -> None:
    """Validation losses from a script."""
    script = iter(losses)
    monkeypatch.setattr(module, "policy_validation", lambda *_, **__: lambda: {"loss": next(script)})


def test_a_run_goes_to_its_end_and_the_best_weights_are_kept(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(monkeypatch, 3.0, 1.0, 2.0, 1.0)
    steps = Steps()
    whole = fit(base, tmp_path / "a", training=short(max_steps=8, eval_steps=2), on_event=steps)
    assert steps.steps == list(range(1, 9))
    assert (whole.notes["steps"], whole.notes["best_step"]) == (8, 4), "an equal loss is not a better one"
    scripted(monkeypatch, 3.0, 1.0, 2.0, 0.5)
    other = fit(base, tmp_path / "b", training=short(max_steps=8, eval_steps=2))
    assert other.notes["best_step"] == 8
    assert not torch.equal(weights(other), weights(whole))


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_stops_the_run_in_one_line(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = SteeredPairs.forward

    def broken(self: SteeredPairs, *arguments: Any, **named: Any) -> dict[str, torch.Tensor]:
        outputs = forward(self, *arguments, **named)
        return outputs | {"loss": outputs["loss"] * torch.nan}

    monkeypatch.setattr(SteeredPairs, "forward", broken)
    with pytest.raises(ConfigError, match=r"loss is nan.*lower learning_rate") as caught:
        fit(base, tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "checkpoint").exists()


def test_a_validation_that_is_nan_for_one_user_stops_the_run(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = validation.implicit_choices

    def broken(*arguments: Any, **named: Any) -> Any:
        found = ask(*arguments, **named)
        with torch.inference_mode():
            found.margin[0, 0] = torch.nan
        return found

    monkeypatch.setattr(validation, "implicit_choices", broken)
    with pytest.raises(ConfigError, match="validation loss is nan"):
        fit(base, tmp_path)


def test_a_checkpoint_of_other_settings_or_data_is_not_resumed(base: Base, tmp_path: Path) -> None:
    fit(base, tmp_path)
    again, other, elsewhere = Steps(), Steps(), Steps()
    same = fit(base, tmp_path, on_event=again)
    assert again.steps == [], "a run that was finished is taken as it is"
    with pytest.raises(OutputError, match="unfinished run with other data or settings"):
        fit(base, tmp_path, training=short(beta=0.2), on_event=other)
    assert other.steps == []
    changed = fit(base, tmp_path, training=short(beta=0.2), on_event=other, restart=True)
    assert other.steps == list(range(1, 7))
    assert not torch.equal(weights(changed), weights(same))
    fit(base, tmp_path, camps(seed=1), training=short(beta=0.2), on_event=elsewhere, restart=True)
    assert elsewhere.steps == list(range(1, 7))
    assert [line["step"] for line in lines(tmp_path)] == [2, 2, 4, 4, 6, 6], "lines of a run that was thrown away"


@pytest.mark.parametrize("changed", ["validation", "target_groups", "vectors"])
def test_nor_is_one_that_was_validated_or_read_otherwise(base: Base, tmp_path: Path, changed: str) -> None:
    """What is best so far would be compared with what is not comparable."""
    world = camps()
    fit(base, tmp_path, world)
    others = {
        "validation": world.validation.of_users(torch.arange(4)),
        "target_groups": world.target_groups.logical_not(),
        "vectors": world.vectors + 0.1,
    }
    steps = Steps()
    fit(base, tmp_path, world, on_event=steps, restart=True, **{changed: others[changed]})
    assert len(steps.steps) == 6


def test_a_damaged_checkpoint_is_refused_in_one_line(base: Base, tmp_path: Path) -> None:
    fit(base, tmp_path)
    (tmp_path / "checkpoint" / "weights" / "state.safetensors").write_bytes(b"half")
    with pytest.raises(ModelFormatError, match="damaged") as caught:
        fit(base, tmp_path)
    assert "\n" not in str(caught.value)


# -- devices and listeners ---------------------------------------------------------------------------------------------


def trainer(base: Base, folder: Path) -> PolicyTrainer:
    world = camps()
    pairs = pairs_of(base, world.train, world.items, world.vectors)
    steered = SteeredPairs(TransformersEngine(base, SteerablePolicy.new(base, pairs.reward)), short())
    return PolicyTrainer(steered, pairs, short(), dict, folder=folder, run="", emit=lambda event: None)


def test_a_base_on_the_cpu_stays_there(base: Base, tmp_path: Path) -> None:
    """Also where there is an accelerator."""
    found = trainer(base, tmp_path)
    assert found.args.use_cpu
    assert found.args.device.type == "cpu"


def test_several_gpus_without_a_launcher_are_one(base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`Trainer` would use nn.DataParallel, whose threads would run without anybody's signals: unsteered."""
    from transformers import TrainingArguments

    real = TrainingArguments.__post_init__

    def crowded(self: TrainingArguments) -> None:
        real(self)
        assert self.n_gpu <= 1
        self._n_gpu = 4

    monkeypatch.setattr(TrainingArguments, "__post_init__", crowded)
    found = trainer(base, tmp_path)
    assert found.args.n_gpu == 1
    assert found.args.train_batch_size == 4
    assert found._wrap_model(found.model) is found.model


def test_validation_numbers_reach_trackers(base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    fake: Any = types.ModuleType("wandb")
    fake.__spec__ = ModuleSpec("wandb", None)  # accelerate asks whether it is installed
    run = types.SimpleNamespace(
        log=lambda numbers, step: calls.append((step, numbers)), finish=lambda: calls.append("finish")
    )
    fake.init = lambda **settings: (calls.append("init"), run)[1]
    monkeypatch.setitem(sys.modules, "wandb", fake)
    fit(base, tmp_path, training=short(report_to=("wandb",)))
    assert (calls[0], calls[-1]) == ("init", "finish")
    assert [call[0] for call in calls[1:-1]] == [2, 4, 6]
    assert all("policy/loss" in call[1] for call in calls[1:-1])
