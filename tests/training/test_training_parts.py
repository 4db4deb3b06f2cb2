"""Schedule, hardware, diagnostics and configuration of training."""

import logging
import os
from itertools import pairwise

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from tacit.encoders import LatentPosterior
from tacit.episodes import ChoiceBatch, Episode
from tacit.errors import ConfigError
from tacit.training import ObjectiveConfig, TrainingConfig, collapse_report
from tacit.training.hardware import choose_hardware, cpu_threads
from tacit.training.loop import warmup_cosine

# -- schedule ----------------------------------------------------------------------------------------------------------


def test_the_rate_rises_linearly_and_falls_as_a_cosine() -> None:
    rates = [warmup_cosine(step, 100, 0.1) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * (i + 1) for i in range(10)])
    assert rates[10] == 1.0
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert rates[55] == pytest.approx(0.505)  # half-way down
    assert rates[99] == pytest.approx(0.01, abs=1e-3)


@pytest.mark.parametrize(("steps", "warmup"), [(1, 0.1), (1, 0.0), (2, 0.99), (7, 0.0)])
def test_short_schedules_stay_within_bounds(steps: int, warmup: float) -> None:
    assert all(0 < warmup_cosine(step, steps, warmup) <= 1 for step in range(steps))


# -- hardware ----------------------------------------------------------------------------------------------------------


def no_step(device: str) -> None:
    raise AssertionError("nothing is left to measure")


def test_what_the_caller_fixed_is_not_measured() -> None:
    hardware = choose_hardware(no_step, device="cpu", threads=3)  # type: ignore[arg-type]
    assert (hardware.device, hardware.threads, hardware.seconds) == ("cpu", 3, {})


def test_the_fastest_candidate_wins_and_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A step that is slow on more than one thread."""
    import time

    if hasattr(os, "sched_getaffinity"):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(4)))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    before = torch.get_num_threads()
    with caplog.at_level(logging.INFO, logger="tacit.training.hardware"):
        hardware = choose_hardware(
            lambda device: lambda: time.sleep(0.02 * torch.get_num_threads()), device=None, threads=None, repeats=1
        )
    assert set(hardware.seconds) == {"cpu/1", "cpu/2", "cpu/4"}
    assert (hardware.device, hardware.threads) == ("cpu", 1)
    assert torch.get_num_threads() == before
    assert "training on cpu with 1 threads" in caplog.text


def test_an_unknown_device_is_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match="device 'abacus' cannot be used") as caught:
        choose_hardware(no_step, device="abacus", threads=1)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_threads_are_put_back_after_an_error() -> None:
    before = torch.get_num_threads()
    inside = 0

    def fail() -> None:
        nonlocal inside
        with cpu_threads(before + 2):
            inside = torch.get_num_threads()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert inside == before + 2
    assert torch.get_num_threads() == before


# -- diagnostics -------------------------------------------------------------------------------------------------------


class Told:
    """z is the context's first number; log p of a target is -(z - its first number)^2."""

    def posterior(self, choices: ChoiceBatch) -> LatentPosterior:
        return LatentPosterior(choices.vectors[:, 0, 0, :1])

    def log_prob(self, choices: ChoiceBatch, z: Tensor) -> Tensor:
        return -(z - choices.vectors[:, :, 0, 0].unsqueeze(0)).square()


def episode(users: list[float], weight: list[list[float]] | None = None) -> Episode:
    """User u has the context number u and two targets with that number."""
    numbers = torch.tensor(users).reshape(-1, 1, 1, 1)
    context = ChoiceBatch.pairs(numbers[:, :, 0], numbers[:, :, 0])
    target = ChoiceBatch.pairs(numbers[:, :, 0].expand(-1, 2, 1), numbers[:, :, 0].expand(-1, 2, 1))
    if weight is not None:
        target = ChoiceBatch(target.vectors, target.rank, torch.tensor(weight))
    return Episode.of(context, target)


def test_swapping_users_costs_what_they_differ() -> None:
    """Users 0, 1, 3 get the latents of one another: costs 9 and 1, 1 and 4, 4 and 9."""
    report = collapse_report(Told(), episode([0.0, 1.0, 3.0]))
    assert report["swap_gain"] == pytest.approx(14 / 3)
    assert report["reward_change"] == pytest.approx(14 / 3)
    assert report["swap_gain_error"] == pytest.approx(torch.tensor([5.0, 2.5, 6.5]).std().item() / 3**0.5)
    assert report["active_units"] == 1


def test_users_alike_are_inert() -> None:
    report = collapse_report(Told(), episode([2.0, 2.0, 2.0]))
    assert report == dict.fromkeys(("active_units", "reward_change", "swap_gain", "swap_gain_error"), 0) | {
        "swap_users": 3
    }


def test_padding_targets_and_users_without_targets_do_not_count() -> None:
    report = collapse_report(Told(), episode([0.0, 1.0, 3.0], [[1.0, 0.0], [0.0, 0.0], [2.0, 2.0]]))
    assert report["swap_gain"] == pytest.approx((5 + 6.5) / 2)
    assert report["swap_users"] == 2


def test_one_user_says_nothing() -> None:
    report = collapse_report(Told(), episode([1.0]))
    assert report.pop("swap_users") == 1
    assert set(report.values()) == {0.0}


# -- configuration -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"step": 10}, {"steps": 0}, {"learning_rate": 0}, {"learning_rate": float("nan")}, {"seed": -1},
        {"warmup": 1.0}, {"patience": -1}, {"threads": 0}, {"targets": 0}, {"max_context": -1},
        {"objective": {"kind": "elbow"}}, {"objective": {"samples": 0}}, {"objective": {"beta": -1}},
    ],
)  # fmt: skip
def test_wrong_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(ValidationError):
        TrainingConfig.model_validate(wrong)


def test_settings_are_frozen_and_round_trip() -> None:
    config = TrainingConfig(objective=ObjectiveConfig(kind="elbo", beta=0.5))
    assert TrainingConfig.model_validate_json(config.model_dump_json()) == config
    with pytest.raises(ValidationError):
        config.steps = 5  # type: ignore[misc]
