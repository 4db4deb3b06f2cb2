"""The summary of `experiments/steering.py`: means over people first, ratios last, methods against their own seeds."""

import re
from typing import Any

import pytest

from _report import table
from _steering_report import _controls, report, summarise


def numbers(*gold: float, words: float = 10.0) -> dict[str, Any]:
    """One method at one k: two answers to each person, equally good."""
    each = {"perplexity": 2.0, "malformed": 0.1, "distinct": 0.5, "empty": 0.0, "words": words, "apart": 1.0}
    return {"gold": [[value, value] for value in gold], "words_each": [[words, words] for _ in gold], **each}


def ours(seed: int, *, told: float, steered: float) -> dict[str, Any]:
    return {
        "seed": seed,
        "methods": {
            "unsteered": {"0": numbers(0.0, 0.0)},
            "told": {"0": numbers(told - 1, told + 1)},
            "DPO for everybody": {"0": numbers(0.5, 0.5)},
            "NP-DPO": {"0": numbers(0.4, 0.8), "5": numbers(steered, steered)},
            "shuffled user": {"5": numbers(0.7, 0.7)},
            "told, as Bayes believes": {"5": numbers(told / 2, told / 2)},
        },
        "directions": {"more length": 0.4 + seed},
        "continuum": [[2.0, 0.0], [1.0, 3.0], [1.5, 4.0]],
        "continuum_answers_a_point": 10,
        "answers": [{"tastes": [1.0, 0.0]}, {"tastes": [0.0, 1.0]}],
    }


def others(seed: int, gold: float) -> dict[str, Any]:
    return {"seed": seed, "methods": {"FiLM": {"5": numbers(gold, gold)}}}


def test_ratios_are_of_means_over_all_people_and_seeds() -> None:
    found = summarise([ours(0, told=4.0, steered=1.0), ours(1, told=8.0, steered=5.0)])
    steered = found["methods"]["NP-DPO"]["5"]
    assert steered["gold"] == pytest.approx(3.0)
    assert steered["efficiency"] == pytest.approx(3.0 / 6.0)
    assert steered["of_bayes"] == pytest.approx(3.0 / 3.0)
    assert steered["people"] == 4
    assert steered["wins"] == {"unsteered": 1.0, "DPO for everybody": 1.0}
    assert found["directions"] == {"more length": pytest.approx(0.9)}


def test_a_method_of_some_seeds_is_compared_with_what_those_seeds_say() -> None:
    """Over both seeds told is worth 6; over the second, the only one that FiLM ran on, 8."""
    found = summarise([ours(0, told=4.0, steered=1.0), ours(1, told=8.0, steered=5.0), others(1, 4.0)])
    film = found["methods"]["FiLM"]["5"]
    assert (film["seeds"], film["people"]) == ([1], 2)
    assert film["efficiency"] == pytest.approx(0.5)
    assert film["of_bayes"] == pytest.approx(1.0)


def test_the_continuum_ranks_the_mean_of_the_seeds() -> None:
    line = summarise([ours(0, told=4.0, steered=1.0)])["continuum"]
    assert line["spearman"] == [pytest.approx(0.5), pytest.approx(1.0)]


def test_told_no_better_than_unsteered_leaves_the_ratio_out(capsys: pytest.CaptureFixture[str]) -> None:
    found = summarise([ours(0, told=0.0, steered=1.0)])
    assert found["methods"]["NP-DPO"]["5"]["efficiency"] is None
    report(found, table)
    printed = capsys.readouterr().out
    assert "Spearman: A falls 0.500, B rises 1.000" in printed
    assert "- (" in printed
    assert re.search(r"shuffled user +5 +0\.20 \(0\.20 to 0\.20\) +0\.20 \(0\.20 to 0\.20\) +\+0\.000", printed)


def test_chance_likeness_of_swapped_people_is_taken_out_of_the_control() -> None:
    """Pairs of cosine 1, 0 and 0, and reward that follows it: 3 nats for one's own taste, 0.2 for just any."""
    part = ours(0, told=4.0, steered=1.0)
    part["answers"] = [{"tastes": tastes} for tastes in ([1.0, 0.0], [1.0, 0.0], [0.0, 1.0])]
    part["methods"] = {
        "DPO for everybody": {"0": numbers(0.5, 0.5, 0.5)},
        "shuffled user": {"5": numbers(0.7, 3.7, 0.7)},
    }
    (control,) = _controls([part])
    assert control["cosine"] == pytest.approx(1 / 3)
    assert control["gain"] == pytest.approx(0.2 + 3 / 3)
    assert control["unrelated"] == pytest.approx(0.2)


def test_nobody_known_is_compared_with_one_policy_for_everybody_by_person() -> None:
    control, shuffled = summarise([ours(0, told=4.0, steered=1.0)])["controls"]
    assert (control["method"], control["k"]) == ("NP-DPO", 0)
    assert control["gain"] == pytest.approx(0.1)
    assert control["gain_interval"] == pytest.approx([-0.1, 0.3])
    assert shuffled["unrelated"] == pytest.approx(shuffled["gain"]) == pytest.approx(0.2)
    assert shuffled["unrelated_interval"] == pytest.approx([0.2, 0.2])
