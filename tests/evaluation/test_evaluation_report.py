"""The written forms: results.json, the table, the pictures."""

import json
import re
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from evaluation_fakes import Bayes, Linear, ragged, world
from hypothesis import given
from hypothesis import strategies as st

from tacit.errors import ConfigError
from tacit.evaluation import Report, Summary, evaluate, plot_accuracy, plot_reliability
from tacit.evaluation.plots import _spread
from tacit.files import write_json


@pytest.fixture(scope="module")
def report() -> Report:
    w = world(users=80)
    return evaluate(
        Bayes(w.types), w.index, w.vectors, ks=(0, 1, 5), pooled=Linear(w.types[0]), resamples=50, max_targets=10
    )


def test_json_has_the_agreed_shape(report: Report, tmp_path: Path) -> None:
    write_json(tmp_path / "results.json", report.to_json())  # refuses NaN
    found = json.loads((tmp_path / "results.json").read_text())
    for method in (
        found["model"],
        *(found["controls"][name] for name in ("pooled", "adaptation_off", "shuffled_user")),
    ):
        for metric in ("accuracy", "nll", "ece", "brier", "worst_decile"):
            assert list(method[metric]) == ["0", "1", "5"]
        low, high = method["interval"]["accuracy"]["5"]
        assert 0 < low < method["accuracy"]["5"] < high < 1
    assert set(found["gain"]) == {"pooled", "adaptation_off", "shuffled_user"}
    assert found["n_users"] == {"0": 80, "1": 80, "5": 80}
    assert found["n_users_every_k"] == 80
    assert sum(found["reliability"]["5"]["mass"]) == pytest.approx(1)
    assert found["episodes"]["targets"] <= 800


def test_parts_are_written_the_same_way() -> None:
    index = ragged(1, users=40, choices=600, slots=2)
    vectors = torch.randn(120, 4, generator=torch.Generator().manual_seed(0))
    report = evaluate(Linear(torch.ones(4)), index, vectors, ks=(0, 6), resamples=20)
    plain = report.to_json()
    part = plain["parts"]["every_k"]
    assert set(part) == set(plain) - {"parts", "episodes"}
    assert part["n_users"]["0"] == part["n_users"]["6"] == plain["n_users_every_k"]
    assert f"## Users with every k ({plain['n_users_every_k']})" in report.to_markdown()


def test_the_tables_are_rectangular_and_say_the_numbers(report: Report) -> None:
    text = report.to_markdown()
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({line.count("|") for line in block.splitlines()}) == 1
    assert f"{100 * report.model['accuracy'][5]:.1f} [" in text
    assert f"{100 * report.gain['pooled']['accuracy'][5]:+.1f} [" in text
    assert "nan" not in text


def test_pictures_are_written_whole_and_leave_matplotlib_alone(report: Report, tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    bayes = {0: 0.6, 1: 0.7, 5: 0.8}
    plot_accuracy(tmp_path / "accuracy.png", report.methods, reference={"Bayes-optimal": bayes})
    plot_accuracy(tmp_path / "again.png", report.methods, reference={"Bayes-optimal": bayes})
    plot_reliability(tmp_path / "reliability.png", report.reliability, ece=report.model["ece"])
    for name in ("accuracy.png", "reliability.png"):
        data = (tmp_path / name).read_bytes()
        assert data.startswith(b"\x89PNG")
        assert len(data) > 10_000
    assert (tmp_path / "accuracy.png").read_bytes() == (tmp_path / "again.png").read_bytes()
    assert dict(matplotlib.rcParams) == before
    assert len(list(tmp_path.iterdir())) == 3  # no temporary files


def test_a_line_without_intervals_can_be_drawn(tmp_path: Path) -> None:
    plot_accuracy(tmp_path / "a.png", {"only": Summary({"accuracy": {0: 0.5}})})
    assert (tmp_path / "a.png").exists()


def test_nothing_to_draw_is_refused(report: Report, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        plot_accuracy(tmp_path / "a.png", {"none": Summary({"accuracy": {}})})
    with pytest.raises(ConfigError, match=r"k = \[7\]"):
        plot_reliability(tmp_path / "a.png", report.reliability, ks=[7])
    assert not (tmp_path / "a.png").exists()


@given(st.lists(st.floats(0, 100), min_size=1, max_size=8).map(sorted), st.floats(0.1, 10))
def test_labels_are_moved_apart_and_no_further_than_needed(wanted: list[float], gap: float) -> None:
    found = _spread(wanted, gap)
    assert (np.diff(found) >= gap - 1e-9).all()
    assert np.mean(found) == pytest.approx(np.mean(wanted), abs=1e-9)
    if (np.diff(wanted) > gap).all():
        assert found == pytest.approx(wanted)
