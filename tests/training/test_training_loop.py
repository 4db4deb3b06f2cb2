"""The loop: early stop, resumption on the same trajectory, metrics, and what it must leave alone."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tacit.choices import ChoiceIndex
from tacit.episodes import Episode, EpisodeSampler
from tacit.errors import ConfigError, ModelFormatError, OutputError
from tacit.training import ObjectiveConfig, TrainingConfig, TrainingResult, train
from tacit.training.hardware import Hardware
from tacit.training.loop import Trainable


class Network(Trainable):
    """Predicts the winner of a pair, with noise and dropout, so that every source of randomness is in play."""

    def __init__(self, seed: int = 0, dropout: float = 0.3) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Dropout(dropout), nn.Linear(8, 1))

    def loss(self, episode: Episode, objective: ObjectiveConfig, generator: torch.Generator | None) -> Tensor:
        target = episode.target
        noise = 0.1 * torch.randn(target.vectors.shape, generator=generator)
        reward = self.net(target.vectors + noise).squeeze(-1)
        fit = nn.functional.logsigmoid(reward[:, :, 0] - reward[:, :, 1])
        return -(fit * target.weight).sum() / target.weight.sum()


def sampler(seed: int = 0) -> EpisodeSampler:
    g = torch.Generator().manual_seed(0)
    n = 80
    group = torch.arange(n).unsqueeze(1).expand(n, 2)
    index = ChoiceIndex.build(
        torch.arange(n) // 10, torch.arange(2 * n).reshape(n, 2), torch.tensor([0, 1]).expand(n, 2), group, n_users=8
    )
    return EpisodeSampler(index, torch.randn(2 * n, 4, generator=g), 3, 4, seed)


CONFIG: dict[str, Any] = {
    "steps": 24, "users_per_batch": 4, "learning_rate": 0.01, "validate_every": 4, "threads": 1, "device": "cpu",
}  # fmt: skip


def falling(network: nn.Module) -> dict[str, float]:
    """A validation that is a function of the weights alone."""
    return {"nll": sum(p.square().sum().item() for p in network.parameters())}


def run(
    network: Network,
    *,
    validate: Callable[[nn.Module], dict[str, float]] = falling,
    folder: Path | None = None,
    on_event: Callable[[dict], None] | None = None,
    fingerprint: str = "this run",
    **settings: Any,
) -> TrainingResult:
    config = TrainingConfig(**(CONFIG | settings))
    return train(network, sampler(config.seed), validate, config, folder=folder, run=fingerprint, on_event=on_event)


def weights(network: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def scripted(*values: float) -> Callable[[nn.Module], dict[str, float]]:
    script: Iterator[float] = iter(values)
    return lambda network: {"nll": next(script)}


class Interrupted(Exception):  # noqa: N818
    """Stands for whatever ends a run in the middle."""


def stop_at(step: int) -> Callable[[dict], None]:
    def on_event(event: dict) -> None:
        if event["event"] == "step" and event["step"] == step:
            raise Interrupted

    return on_event


# -- what a run does ---------------------------------------------------------------------------------------------------


def test_training_lowers_the_loss() -> None:
    network = Network(dropout=0.0)
    before = weights(network)
    losses = []
    run(network, steps=150, patience=0, on_event=lambda e: losses.append(e["loss"]) if "loss" in e else None)
    assert losses[-1] < 0.9 * losses[0]
    assert not torch.equal(weights(network), before)


def test_the_best_weights_are_kept_and_training_stops_when_patience_is_over() -> None:
    snapshots: list[Tensor] = []
    validation = scripted(3.0, 1.0, 2.0, 1.0, 5.0, 0.0)

    def validate(module: nn.Module) -> dict[str, float]:
        assert not module.training
        snapshots.append(weights(module))
        return validation(module)

    network = Network()
    result = run(network, validate=validate, patience=3)
    assert (result.steps, result.best_step, result.best) == (20, 8, {"nll": 1.0})  # an equal NLL is not a better one
    assert torch.equal(weights(network), snapshots[1])
    assert not torch.equal(snapshots[1], snapshots[-1])
    assert not network.training


def test_patience_of_zero_never_stops() -> None:
    result = run(Network(), validate=scripted(1, 2, 3, 4, 5, 6), patience=0)
    assert (result.steps, result.best_step) == (24, 4)


def test_the_last_step_is_validated_even_off_the_beat() -> None:
    result = run(Network(), validate=scripted(3, 2, 1), validate_every=10)
    assert result.best_step == 24


def test_events_tell_the_story() -> None:
    events: list[dict] = []
    run(Network(), validate=scripted(3, 2), steps=8, on_event=events.append)
    kinds = [event["event"] for event in events]
    assert kinds == ["start", *["step"] * 4, "validation", *["step"] * 4, "validation", "end"]
    assert [e["step"] for e in events if e["event"] == "step"] == list(range(1, 9))
    assert all(e["name"] == "reward" and e["steps"] == 8 for e in events)
    assert {"loss", "nll", "learning_rate"} <= set(events[5])


# -- what a run depends on ---------------------------------------------------------------------------------------------


def test_same_seed_same_weights_other_seed_other_weights() -> None:
    """Whatever the caller's random state is."""
    networks = [Network(), Network(), Network()]
    for network, seed, state in zip(networks, (0, 0, 1), (5, 6, 5), strict=True):
        torch.manual_seed(state)
        run(network, seed=seed)
    first, again, other = (weights(network) for network in networks)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_global_random_state_and_threads_are_left_alone() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        before = torch.random.get_rng_state()
        run(Network())
        assert torch.equal(torch.random.get_rng_state(), before)
        assert torch.get_num_threads() == threads + 1
        with pytest.raises(Interrupted):
            run(Network(), on_event=stop_at(3))
        assert torch.get_num_threads() == threads + 1
        assert torch.equal(torch.random.get_rng_state(), before)
    finally:
        torch.set_num_threads(threads)


def test_measuring_the_hardware_changes_nothing() -> None:
    fixed, measured = Network(), Network()
    run(fixed)
    before = torch.random.get_rng_state()
    result = run(measured, threads=None, device=None)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert set(result.hardware.seconds) >= {"cpu/1"} or result.hardware.threads == 1
    if result.hardware.device == "cpu" and result.hardware.threads == 1:
        assert torch.equal(weights(fixed), weights(measured))


# -- resuming ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [2, 4, 5, 11, 23])
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(tmp_path: Path, stop: int) -> None:
    whole, cut, fresh = Network(), Network(), Network()
    expected = run(whole, folder=tmp_path / "whole")
    with pytest.raises(Interrupted):
        run(cut, folder=tmp_path / "cut", on_event=stop_at(stop))
    torch.rand(7)  # the caller's random state has moved on
    events: list[dict] = []
    result = run(fresh, folder=tmp_path / "cut", on_event=events.append)
    assert events[0]["step"] == (stop - 1) // 4 * 4  # a step that a validation follows is lost with it
    assert torch.equal(weights(fresh), weights(whole))
    assert (result.steps, result.best_step, result.best) == (expected.steps, expected.best_step, expected.best)
    numbers = [
        [{k: v for k, v in line.items() if k != "seconds"} for line in lines(tmp_path / f)] for f in ("whole", "cut")
    ]
    assert numbers[0] == numbers[1]


def test_a_line_without_its_checkpoint_is_written_only_once(tmp_path: Path) -> None:
    """Killed between the line in metrics.jsonl and the checkpoint, or within the line."""

    def at_validation(event: dict) -> None:
        if event["event"] == "validation" and event["step"] == 12:
            raise Interrupted

    with pytest.raises(Interrupted):
        run(Network(), folder=tmp_path, on_event=at_validation)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"name": "reward", "st')
    assert json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-2])["step"] == 12
    run(Network(), folder=tmp_path)
    assert [line["step"] for line in lines(tmp_path)] == [4, 8, 12, 16, 20, 24]


def test_lines_of_other_runs_in_the_file_are_kept(tmp_path: Path) -> None:
    other = {"name": "pooled", "step": 999, "nll": 0.5}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(other) + "\n")
    run(Network(), folder=tmp_path)
    assert lines(tmp_path)[0] == other
    assert len(lines(tmp_path)) == 7


def test_a_finished_run_is_not_trained_on(tmp_path: Path) -> None:
    """Neither after its last step nor after an early stop; both give the same result again."""
    for folder, validate in (("end", falling), ("early", scripted(1, 2, 3, 4, 5, 6))):
        first, again = Network(), Network()
        expected = run(first, validate=validate, folder=tmp_path / folder, patience=2)
        events: list[dict] = []
        result = run(again, validate=scripted(), folder=tmp_path / folder, patience=2, on_event=events.append)
        assert [event["event"] for event in events] == ["start", "end"]
        assert torch.equal(weights(again), weights(first))
        assert (result.steps, result.best_step, result.best) == (expected.steps, expected.best_step, expected.best)


def test_the_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    run(Network(), folder=tmp_path, steps=4)
    network = Network()
    before = weights(network)
    with pytest.raises(OutputError, match="other data or settings"):
        run(network, folder=tmp_path, fingerprint="another run")
    assert torch.equal(weights(network), before)


# -- damage ------------------------------------------------------------------------------------------------------------


def edit_tensors(change: Callable[[dict[str, Tensor]], object]) -> Callable[[Path], None]:
    def damage(checkpoint: Path) -> None:
        tensors = load_file(checkpoint / "state.safetensors")
        change(tensors)
        save_file(tensors, checkpoint / "state.safetensors")

    return damage


def edit_progress(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def damage(checkpoint: Path) -> None:
        raw = json.loads((checkpoint / "progress.json").read_text())
        change(raw)
        (checkpoint / "progress.json").write_text(json.dumps(raw))

    return damage


def cut(name: str) -> Callable[[Path], None]:
    def damage(checkpoint: Path) -> None:
        data = (checkpoint / name).read_bytes()
        (checkpoint / name).write_bytes(data[: len(data) // 2])

    return damage


DAMAGES: dict[str, Callable[[Path], object]] = {
    "tensors cut": cut("state.safetensors"),
    "progress cut": cut("progress.json"),
    "no tensors": lambda c: (c / "state.safetensors").unlink(),
    "no progress": lambda c: (c / "progress.json").unlink(),
    "progress a list": lambda c: (c / "progress.json").write_text("[]"),
    "another format": edit_progress(lambda raw: raw.update(format=99)),
    "no format": edit_progress(lambda raw: raw.pop("format")),
    "unknown counter": edit_progress(lambda raw: raw.update(surprise=1)),
    "missing step": edit_progress(lambda raw: raw.pop("step")),
    "step a word": edit_progress(lambda raw: raw.update(step="four")),
    "step negative": edit_progress(lambda raw: raw.update(step=-4)),
    "device a number": edit_progress(lambda raw: raw.update(device=0)),
    "best a list": edit_progress(lambda raw: raw.update(best=[1.0])),
    "extra tensor": edit_tensors(lambda t: t.update({"network.surprise": torch.zeros(1)})),
    "tensor of no part": edit_tensors(lambda t: t.update({"surprise": torch.zeros(1)})),
    "missing weight": edit_tensors(lambda t: t.pop("network.net.0.weight")),
    "weight of another shape": edit_tensors(lambda t: t.update({"network.net.0.weight": torch.zeros(2, 2)})),
    "missing best weight": edit_tensors(lambda t: t.pop("best.net.0.weight")),
    "best weight of another shape": edit_tensors(lambda t: t.update({"best.net.0.weight": torch.zeros(2, 2)})),
    "missing moment": edit_tensors(lambda t: t.pop("optimizer.0.exp_avg")),
    "moment of another shape": edit_tensors(lambda t: t.update({"optimizer.0.exp_avg": torch.zeros(3)})),
    "moment of no parameter": edit_tensors(lambda t: t.update({"optimizer.77.exp_avg": torch.zeros(3)})),
    "moment of no number": edit_tensors(lambda t: t.update({"optimizer.x.exp_avg": torch.zeros(3)})),
    "unknown moment": edit_tensors(lambda t: t.update({"optimizer.0.surprise": torch.zeros(3)})),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    with pytest.raises(Interrupted):
        run(Network(), folder=folder, on_event=stop_at(10))
    return folder


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_checkpoints_are_refused_in_one_line(sound: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(sound, tmp_path, dirs_exist_ok=True)
    DAMAGES[name](tmp_path / "checkpoint")
    with pytest.raises(ModelFormatError, match="damaged") as caught:
        run(Network(), folder=tmp_path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "checkpoint") in str(caught.value)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_the_run(bad: float, tmp_path: Path) -> None:
    class Broken(Network):
        def loss(self, episode: Episode, objective: ObjectiveConfig, generator: torch.Generator | None) -> Tensor:
            return super().loss(episode, objective, generator) + bad

    with pytest.raises(ConfigError, match="at step 4; lower learning_rate"):
        run(Broken(), folder=tmp_path)
    assert not (tmp_path / "checkpoint").exists()


def test_a_resumed_run_stays_on_its_device_and_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Interrupted):
        run(Network(), folder=tmp_path, on_event=stop_at(10))
    asked: list[tuple[str | None, int | None]] = []

    def noted(step: object, *, device: str | None, threads: int | None) -> Hardware:
        asked.append((device, threads))
        return Hardware("cpu", 1, {})

    monkeypatch.setattr("tacit.training.loop.choose_hardware", noted)
    run(Network(), folder=tmp_path, threads=None, device=None)
    assert asked == [("cpu", 1)]
