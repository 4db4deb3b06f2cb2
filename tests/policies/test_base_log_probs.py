"""The base's own log-probabilities, worked out once: what they are, and when the file beside a run may be used."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_base import save_base
from torch.testing import assert_close

import tacit.engines.transformers.engine as module
from tacit.engines import Base, Dialogue, TransformersEngine, load_base
from tacit.policies.base_log_probs import reference_log_probs
from tacit.policies.pairs import Row, tokenise

ITEMS = [("What is it?", "a cat"), ("Say a word", "x"), ("Q", "many words, one after another"), ("Q", "no")]
CLOSE: dict[str, Any] = {"rtol": 1e-5, "atol": 2e-4}


def rows_of(base: Base, *, without: int | None = None) -> list[Row | None]:
    used = torch.tensor([item != without for item in range(len(ITEMS))])
    return tokenise(Dialogue(base), ITEMS, used)[0]


class Counter:
    """Stands in the place of what asks the base, and counts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls, self._real = 0, module.response_log_probs
        monkeypatch.setattr(module, "response_log_probs", self)

    def __call__(self, *arguments: Any) -> torch.Tensor:
        self.calls += 1
        return self._real(*arguments)


@pytest.fixture
def counter(monkeypatch: pytest.MonkeyPatch) -> Counter:
    return Counter(monkeypatch)


def test_it_is_what_the_base_says_without_steering(base: Base, engine: TransformersEngine) -> None:
    found = reference_log_probs(engine, rows_of(base))
    assert_close(found, engine.log_probs(ITEMS, None), **CLOSE)
    assert (found - engine.log_probs(ITEMS, torch.ones(1, 4))).abs().min() > 1e-3
    assert found.dtype == torch.float32
    assert not found.requires_grad


def test_rows_that_are_not_used_are_left_at_nought(base: Base) -> None:
    whole = reference_log_probs(TransformersEngine(base), rows_of(base))
    found = reference_log_probs(TransformersEngine(base), rows_of(base, without=2))
    assert found[2] == 0
    assert_close(found[[0, 1, 3]], whole[[0, 1, 3]], **CLOSE)


def test_batches_change_nothing_and_are_told(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = reference_log_probs(TransformersEngine(base), rows_of(base))
    monkeypatch.setattr(module, "_TOKENS_CPU", 40)
    told: list[tuple[int, int]] = []
    found = reference_log_probs(TransformersEngine(base), rows_of(base), progress=lambda *counts: told.append(counts))
    assert_close(found, whole, **CLOSE)
    assert told[-1] == (4, 4)
    assert len(told) > 1


def test_the_file_is_used_for_the_same_rows_and_base(base: Base, tmp_path: Path, counter: Counter) -> None:
    file = tmp_path / "reference.safetensors"
    first = reference_log_probs(TransformersEngine(base), rows_of(base), file=file)
    assert counter.calls == 1
    assert torch.equal(reference_log_probs(TransformersEngine(base), rows_of(base), file=file), first)
    assert counter.calls == 1


def test_the_file_is_not_used_for_other_rows(base: Base, tmp_path: Path, counter: Counter) -> None:
    file = tmp_path / "reference.safetensors"
    reference_log_probs(TransformersEngine(base), rows_of(base), file=file)
    found = reference_log_probs(TransformersEngine(base), rows_of(base, without=1), file=file)
    assert counter.calls == 2
    assert found[1] == 0
    reference_log_probs(TransformersEngine(base), rows_of(base, without=1), file=file)
    assert counter.calls == 2, "the file is of the latest rows"


def test_the_file_is_not_used_for_another_base(base: Base, tmp_path: Path, counter: Counter) -> None:
    file, other = tmp_path / "reference.safetensors", load_base(str(save_base(tmp_path / "other", seed=1)))
    first = reference_log_probs(TransformersEngine(base), rows_of(base), file=file)
    assert rows_of(base) == rows_of(other)
    second = reference_log_probs(TransformersEngine(other), rows_of(other), file=file)
    assert counter.calls == 2
    assert (first - second).abs().min() > 0.01


def test_the_file_is_not_used_for_another_precision(
    base: Base, base_folder: Path, tmp_path: Path, counter: Counter
) -> None:
    file, half = tmp_path / "reference.safetensors", load_base(str(base_folder), dtype="bfloat16")
    first = reference_log_probs(TransformersEngine(base), rows_of(base), file=file)
    second = reference_log_probs(TransformersEngine(half), rows_of(half), file=file)
    assert counter.calls == 2
    assert not torch.equal(first, second)


@pytest.mark.parametrize("left", [0, 5, 40, -1])
def test_a_file_that_was_cut_is_worked_out_again(base: Base, tmp_path: Path, counter: Counter, left: int) -> None:
    file = tmp_path / "reference.safetensors"
    first = reference_log_probs(TransformersEngine(base), rows_of(base), file=file)
    file.write_bytes(file.read_bytes()[:left])
    assert torch.equal(reference_log_probs(TransformersEngine(base), rows_of(base), file=file), first)
    assert counter.calls == 2
    assert torch.equal(reference_log_probs(TransformersEngine(base), rows_of(base), file=file), first)
    assert counter.calls == 2
