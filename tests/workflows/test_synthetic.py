import pytest
import torch

from tacit.workflows.plots import plot_reward_curves, plot_synthetic_accuracy, reward_curves
from tacit.workflows.synthetic import KS, synthetic_experiment
from tacit.worlds import bayes_optimal_accuracy


@pytest.fixture(scope="module")
def result():
    return synthetic_experiment([3], methods=("np_btl", "btl", "dpl"), steps=60, test_users=300)


def test_results_have_the_shape_of_the_contract(result):
    data = result.to_json()
    assert set(data["methods"]) == {"np_btl", "btl", "dpl"}
    assert set(data["bayes_optimal"]) == {str(k) for k in KS} == set(data["methods"]["np_btl"]["accuracy"])
    for method in data["methods"].values():
        assert all(0 <= value <= 1 for value in method["accuracy"].values())
    f = result.runs[0].world.test.disagreement
    assert data["bayes_optimal"]["3"] == pytest.approx(1 - (1 - f) ** 3 * f / 2)


def test_only_the_personalised_model_moves_with_k(result):
    ours, pooled, dpl = (result.accuracy(name) for name in ("np_btl", "btl", "dpl"))
    assert ours[10] > ours[0] + 0.1
    for flat in (pooled, dpl):
        assert len(set(flat.values())) == 1
        assert flat[0] == pytest.approx(bayes_optimal_accuracy(result.runs[0].world.test.disagreement, 0), abs=0.05)


def test_context_of_another_user_does_not_help(result):
    report = result.runs[0].reports["np_btl"]
    assert report.controls["shuffled_user"]["accuracy"][10] < report.model["accuracy"][0] + 0.03


def test_curves_follow_the_type_of_each_user(result):
    grid, kind, learnt, true = reward_curves(result.runs[0], "np_btl", k=10)
    assert learnt.shape == true.shape == (12, len(grid))
    own = torch.stack([torch.corrcoef(torch.stack([a, b]))[0, 1] for a, b in zip(learnt, true, strict=True)])
    other = torch.stack(
        [torch.corrcoef(torch.stack([a, b]))[0, 1] for a, b in zip(learnt, true.roll(1, 0), strict=True)]
    )
    assert kind.tolist() == [0, 1] * 6
    assert (own > other).float().mean() > 0.9


def test_pictures_are_written(result, tmp_path):
    plot_synthetic_accuracy(tmp_path / "a.png", result)
    plot_reward_curves(tmp_path / "r.png", result.runs[0])
    assert all((tmp_path / name).read_bytes()[:4] == b"\x89PNG" for name in ("a.png", "r.png"))


def test_one_seed_fixes_everything():
    first, second = (synthetic_experiment([5], methods=("np_btl",), steps=12, test_users=60) for _ in range(2))
    assert first.runs[0].reports["np_btl"].to_json() == second.runs[0].reports["np_btl"].to_json()
    assert first.accuracy("np_btl") != synthetic_experiment([6], methods=("np_btl",), steps=12, test_users=60).accuracy(
        "np_btl"
    )
