"""The harness: cells, the cache, tuning that never sees test users, leaks, tables; on a task of a few seconds."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tacit.baselines import baselines
from tacit.baselines.method import BUDGET
from tacit.choices import ChoiceIndex
from tacit.errors import ChoiceError, ConfigError
from tacit.evaluation.benchmark import run as run_module
from tacit.evaluation.benchmark import run_benchmark, tune
from tacit.evaluation.benchmark.cell import Cell, measure_cell, read_cell, write_cell
from tacit.evaluation.benchmark.datasets import DATASETS, Sources
from tacit.evaluation.benchmark.methods import find_method
from tacit.evaluation.benchmark.report import to_markdown
from tacit.evaluation.benchmark.results import combine
from tacit.evaluation.benchmark.run import Job, measure_all
from tacit.evaluation.benchmark.task import Part, Task
from tacit.evaluation.benchmark.tuning import Tuned, read_tuned

NOTHING = Tuned({}, {})
QUICK = {"training": {"steps": 40, "validate_every": 20}}


def part(seed: int, users: int, targets: torch.Tensor, allowed: torch.Tensor) -> Part:
    """Users of two opposed types who choose between two of the allowed items."""
    generator = torch.Generator().manual_seed(seed)
    pairs = allowed[torch.randint(len(allowed), (users, 24, 2), generator=generator)]
    types = torch.arange(users) % 2
    reward = torch.where(types[:, None] == 0, 1.0, -1.0) * VECTORS[:, 0]
    first = reward.gather(1, pairs[..., 0]) >= reward.gather(1, pairs[..., 1])
    items = torch.where(first.unsqueeze(-1), pairs, pairs.flip(-1)).reshape(-1, 2)
    user = torch.arange(users).repeat_interleave(24)
    index = ChoiceIndex.build(user, items, torch.tensor([0, 1]).expand_as(items), items, n_users=users)
    return Part(index, targets, types)


VECTORS = torch.randn(90, 3, generator=torch.Generator().manual_seed(0))


def small_task(seed: int, sources: Sources) -> Task:
    """Items 0-59 train, 60-74 are validation targets, 75-89 test targets."""
    ids = torch.arange(90)
    validation, test = (ids >= 60) & (ids < 75), ids >= 75
    return Task(
        "small", seed, VECTORS,
        train=part(3 * seed, 60, torch.zeros(90, dtype=torch.bool), ids[:60]),
        validation=part(3 * seed + 1, 20, validation, ids[:75]),
        test=part(3 * seed + 2, 30, test, ids[~validation]),
        ks=(0, 1, 5), facts={"about": "two opposed types"},
    )  # fmt: skip


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dataset `small` and methods that train for a moment."""
    dataset = replace(DATASETS["synthetic"], name="small", family="small", make=small_task)
    monkeypatch.setitem(DATASETS._parts, "small", dataset)
    for name in ("np_btl", "btl", "mixture", "oracle"):
        grid = tuple({"config": dict(g.get("config", {})), **QUICK} for g in baselines[name].grid)
        monkeypatch.setattr(baselines[name], "grid", grid)
    for cached in (run_module.task_of, *_find_caches()):
        cached.cache_clear()


def _find_caches() -> list[Any]:
    from tacit.evaluation.benchmark.datasets import find_dataset

    return [find_dataset]


def sources(folder: Path) -> Sources:
    return Sources(None, folder)


def test_personal_methods_beat_pooled_and_nobody_leaks(tmp_path: Path) -> None:
    methods = ["np_btl", "btl", "mixture", "oracle"]
    found = run_benchmark(["small"], methods, [0, 1], sources(tmp_path / "cache"), NOTHING, workers=1)
    result = found.results["small"]
    assert set(result.methods) == set(methods)
    ours, pooled = result.methods["np_btl"], result.methods["btl"]
    assert ours.accuracy[-1] > pooled.accuracy[-1] + 0.15
    assert ours.over_pooled_interval[-1, 0] > 0
    assert ours.shuffled[-1] < ours.accuracy[-1] - 0.15
    assert result.methods["oracle"].accuracy[0] > 0.85
    assert not any(method.leaks for method in result.methods.values())
    assert result.users[0] == result.users[-1] > 20
    written = found.write(tmp_path / "out")
    assert {path.name for path in written} == {"small.png", "cost.png", "benchmark.md", "benchmark.json"}
    plain = json.loads((tmp_path / "out" / "benchmark.json").read_text())["datasets"]["small"]
    assert plain["methods"]["np_btl"]["accuracy"]["5"] == pytest.approx(float(ours.accuracy[-1]))
    text = to_markdown([result])
    assert f"{100 * float(ours.accuracy[-1]):.1f}" in text
    assert "told" in text


def test_finished_cells_are_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [Job.of("small", 0, "btl", baselines["btl"].grid[0]), Job.of("small", 1, "btl", baselines["btl"].grid[0])]
    seen: list[tuple[int, int]] = []
    first = measure_all(jobs[:1], sources(tmp_path), workers=1)
    measured = []
    whole = run_module.measure_cell
    monkeypatch.setattr(run_module, "measure_cell", lambda task, *a: measured.append(task.seed) or whole(task, *a))
    again = measure_all(jobs, sources(tmp_path), workers=1, progress=lambda done, total: seen.append((done, total)))
    assert measured == [1]
    assert seen == [(1, 2), (2, 2)]
    assert torch.equal(again[jobs[0]].nll, first[jobs[0]].nll)


def test_a_cell_is_a_function_of_its_seed() -> None:
    task = small_task(0, Sources())
    one, two = (measure_cell(task, "np_btl", baselines["np_btl"].grid[0], "test") for _ in range(2))
    assert torch.equal(one.nll, two.nll)
    assert torch.equal(one.accuracy, two.accuracy)


def test_a_damaged_cell_is_measured_again(tmp_path: Path) -> None:
    file = tmp_path / "cell.safetensors"
    cell = Cell(*(torch.ones(2, 3, dtype=torch.float64) for _ in range(5)))
    write_cell(file, cell)
    assert torch.equal(read_cell(file).nll, cell.nll)  # type: ignore[union-attr]
    file.write_bytes(file.read_bytes()[:40])
    assert read_cell(file) is None
    assert read_cell(tmp_path / "absent") is None


class _Untouchable:
    """Test users that must not be read."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"selection read {name!r} of the test users")


def test_tuning_never_sees_test_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def blind(seed: int, given: Sources) -> Task:
        task = small_task(seed, given)
        object.__setattr__(task, "test", _Untouchable())
        return task

    monkeypatch.setitem(DATASETS._parts, "small", replace(DATASETS["small"], make=blind))
    run_module.task_of.cache_clear()
    file = tmp_path / "tuned.json"
    tuned = tune(["small"], ["btl", "mixture", "oracle"], sources(tmp_path), workers=1, file=file)
    losses = tuned.origin["validation_nll"]["small"]
    assert set(losses) == {"btl", "mixture"}  # an upper line is not tuned
    best = losses["mixture"].index(min(losses["mixture"]))
    assert tuned.of("small", "mixture") == baselines["mixture"].grid[best]
    assert read_tuned(file) == tuned
    with pytest.raises(AssertionError, match="test users"):
        run_benchmark(["small"], ["btl"], [0], sources(tmp_path), tuned, workers=1)


def test_every_method_has_the_same_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {len(method.grid) for method in baselines.values()} == {BUDGET}
    greedy = type("Greedy", (baselines["btl"],), {"grid": baselines["btl"].grid * 2})
    monkeypatch.setitem(baselines._parts, "greedy", greedy)
    with pytest.raises(ConfigError, match="'greedy' brings 8 settings; every method has 4"):
        find_method("greedy")


def planted(gain: float, shuffled: float, start: float = 0.0) -> list[Cell]:
    """Ahead of the pooled BTL by `start` at k = 0, and by so much more once there are choices."""
    base = torch.rand(2, 200, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    told, flat = torch.tensor([[0.0], [1.0]], dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    return [Cell(base + start + gain * told, base, base + start + shuffled * told, flat, flat)]


def test_a_control_that_helps_is_reported_as_a_leak() -> None:
    cells = {"btl": planted(0, 0), "np_btl": planted(0.1, 0), "vpl": planted(0.1, 0.05)}
    cells["mixture"] = planted(0.1, -0.02, start=0.05)
    result = combine("small", (0, 5), {}, [0], cells)
    assert result.methods["vpl"].leaks
    assert not result.methods["np_btl"].leaks
    assert not result.methods["mixture"].leaks, "to know everybody better than the pooled BTL does is no leak"
    assert to_markdown([result]).count("**leaks**") == to_markdown([result]).count("VPL **leaks**") == 1
    assert result.methods["np_btl"].over_pooled.tolist() == pytest.approx([0, 0.1])
    assert result.methods["vpl"].behind_ours.abs().max() < 1e-12


def test_a_task_with_items_without_vectors_is_refused() -> None:
    task = small_task(0, Sources())
    with pytest.raises(ChoiceError, match="without a vector"):
        replace(task, vectors=VECTORS[:10])
    with pytest.raises(ChoiceError, match="NaN"):
        replace(task, vectors=VECTORS * torch.nan)
