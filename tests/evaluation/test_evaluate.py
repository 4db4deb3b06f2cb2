"""The whole evaluation on models whose behaviour is known."""

import math
from dataclasses import replace

import pytest
import torch
from evaluation_fakes import Bayes, Constant, Leaker, Linear, World, ragged, world

from tacit.choices import ChoiceIndex
from tacit.errors import ConfigError, ModelFormatError
from tacit.evaluation import Report, compare, derangement, evaluate

KS = (0, 1, 3, 10)


@pytest.fixture(scope="module")
def people() -> World:
    return world()


@pytest.fixture(scope="module")
def bayes(people: World) -> Report:
    pooled = Linear(people.types.mean(0) + 0.2)
    return evaluate(Bayes(people.types), people.index, people.vectors, ks=KS, pooled=pooled, resamples=300)


def test_exact_inference_gets_better_with_every_choice(bayes: Report) -> None:
    accuracy = [bayes.model["accuracy"][k] for k in KS]
    assert accuracy == sorted(accuracy)
    assert accuracy[-1] - accuracy[0] > 0.2
    nll = [bayes.model["nll"][k] for k in KS]
    assert nll == sorted(nll, reverse=True)
    assert all(bayes.model["ece"][k] < 0.04 for k in KS)


def test_adaptation_off_is_flat_and_equals_k_0(bayes: Report) -> None:
    off = bayes.controls["adaptation_off"]["accuracy"]
    assert off[0] == bayes.model["accuracy"][0]
    assert all(off[k] == pytest.approx(off[0], abs=0.02) for k in KS)


def test_another_users_choices_are_worth_nothing(bayes: Report) -> None:
    shuffled = bayes.controls["shuffled_user"]
    assert shuffled["accuracy"][0] == bayes.model["accuracy"][0]
    assert all(shuffled["accuracy"][k] < bayes.model["accuracy"][0] + 0.03 for k in KS)
    assert shuffled["nll"][10] > bayes.model["nll"][0]


def test_the_gain_is_the_difference_and_excludes_zero(bayes: Report) -> None:
    for control in ("pooled", "adaptation_off", "shuffled_user"):
        for metric, sign in (("accuracy", 1), ("nll", -1), ("brier", -1)):
            difference = bayes.model[metric][10] - bayes.controls[control][metric][10]
            assert bayes.gain[control][metric][10] == pytest.approx(sign * difference)
        low, high = bayes.gain[control].interval["accuracy"][10]
        assert 0 < low < bayes.gain[control]["accuracy"][10] < high
    assert bayes.gain["adaptation_off"].interval["accuracy"][0] == (0.0, 0.0)


def test_a_model_that_memorises_its_context_gains_nothing(people: World) -> None:
    report = evaluate(Leaker(), people.index, people.vectors, ks=KS, resamples=20)
    assert set(report.model["accuracy"].values()) == {0.5}
    assert set(report.controls["shuffled_user"]["accuracy"].values()) == {0.5}


def test_the_same_model_would_gain_if_groups_did_not_keep_the_sides_apart(people: World) -> None:
    # The proof that the test above can fail: every choice made twice, under two names of its group.
    index, n = people.index, int(people.index.group.max()) + 1
    twice = ChoiceIndex.build(
        torch.cat([index.user, index.user]),
        torch.cat([index.items, index.items]),
        torch.cat([index.rank, index.rank]),
        torch.cat([index.group, index.group + n]),
        n_users=index.n_users,
    )
    report = evaluate(Leaker(), twice, people.vectors, ks=KS, resamples=20)
    assert report.model["accuracy"][10] > 0.55


def test_a_constant_model_is_at_chance_with_known_scores(people: World) -> None:
    report = evaluate(Constant(), people.index, people.vectors, ks=(0, 5), resamples=20)
    for k in (0, 5):
        assert report.model["accuracy"][k] == 0.5
        assert report.model["nll"][k] == pytest.approx(math.log(2))
        assert report.model["brier"][k] == pytest.approx(0.25)
        assert report.model["ece"][k] == 0.0


def test_tie_mass_is_divided_out_of_strict_targets(people: World) -> None:
    plain, with_ties = (
        evaluate(Linear(people.types[0], mass), people.index, people.vectors, ks=(0, 2), resamples=20)
        for mass in (0.0, 0.3)
    )
    assert with_ties.model["accuracy"] == plain.model["accuracy"]
    assert with_ties.model["nll"][2] == pytest.approx(plain.model["nll"][2], abs=1e-6)


def test_users_are_counted_by_k_and_the_same_people_are_shown_apart() -> None:
    index = ragged(1, users=40, choices=600, slots=2)
    vectors = torch.randn(120, 4, generator=torch.Generator().manual_seed(0))
    report = evaluate(Linear(torch.ones(4)), index, vectors, ks=(0, 1, 3, 6, 500), resamples=20)
    n = list(report.n_users.values())
    assert n == sorted(n, reverse=True)
    assert n[0] > n[3] > 0 == n[4] == report.n_users_every_k
    assert 500 not in report.model["accuracy"]
    assert "every_k" not in report.parts  # nobody reaches k = 500

    part = evaluate(Linear(torch.ones(4)), index, vectors, ks=(0, 1, 3, 6), resamples=20).parts["every_k"]
    assert set(part.n_users.values()) == {n[3]}
    assert len(set(part.model["accuracy"].values())) == 1  # the same people and targets: flat without adaptation


def test_named_parts_report_their_users_only(people: World) -> None:
    first = torch.arange(300) < 100
    report = evaluate(
        Bayes(people.types),
        people.index,
        people.vectors,
        ks=(0, 5),
        resamples=20,
        parts={"seen": first, "unseen": ~first},
    )
    alone = evaluate(
        Bayes(people.types), people.index.of_users(torch.arange(100)), people.vectors, ks=(0, 5), resamples=20
    )
    assert report.parts["seen"].n_users == alone.n_users
    for metric in ("accuracy", "nll", "ece", "worst_decile"):
        assert report.parts["seen"].model[metric] == pytest.approx(alone.model[metric])
    seen, unseen = (report.parts[name] for name in ("seen", "unseen"))
    whole = seen.n_users[5] * seen.model["accuracy"][5] + unseen.n_users[5] * unseen.model["accuracy"][5]
    assert whole / report.n_users[5] == pytest.approx(report.model["accuracy"][5])


def test_chunks_do_not_change_the_result(people: World) -> None:
    a, b = (
        evaluate(Bayes(people.types), people.index, people.vectors, ks=(1, 4), resamples=20, users_per_chunk=n)
        for n in (17, 1000)
    )
    assert a.model["accuracy"] == b.model["accuracy"]
    assert a.model["nll"] == pytest.approx(b.model["nll"])
    assert a.controls["shuffled_user"]["accuracy"] == b.controls["shuffled_user"]["accuracy"]


def test_the_seed_decides_and_global_randomness_is_left_alone(people: World) -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    a, b, c = (
        evaluate(Bayes(people.types), people.index, people.vectors, ks=(2,), resamples=20, seed=s) for s in (1, 1, 2)
    )
    assert a == b
    assert a.model["accuracy"] != c.model["accuracy"]
    assert torch.equal(torch.get_rng_state(), before)


def test_two_models_are_compared_per_user(people: World, bayes: Report) -> None:
    blurred = evaluate(Bayes(people.types * 0.3), people.index, people.vectors, ks=KS, resamples=300)
    gain = compare(bayes, blurred)
    assert gain["nll"][10] == pytest.approx(blurred.model["nll"][10] - bayes.model["nll"][10])
    assert gain.interval["nll"][10][0] > 0
    assert compare(bayes, bayes).interval["accuracy"][3] == (0.0, 0.0)


def test_reports_on_other_questions_are_not_compared(people: World, bayes: Report) -> None:
    other = evaluate(Bayes(people.types), people.index, people.vectors, ks=KS, resamples=20, seed=1)
    with pytest.raises(ConfigError, match="same arguments"):
        compare(bayes, other)
    swapped = people.index.items.flip(1), people.index.group.flip(1)
    index = ChoiceIndex.build(people.index.user, swapped[0], people.index.rank, swapped[1], n_users=300)
    other = evaluate(Bayes(people.types), index, people.vectors, ks=KS, resamples=20)
    with pytest.raises(ConfigError, match="same arguments"):
        compare(bayes, other)
    with pytest.raises(ConfigError, match="without predictions"):
        compare(replace(bayes, predictions=None), bayes)


@pytest.mark.parametrize("n", [2, 3, 50])
def test_a_derangement_moves_everybody(n: int) -> None:
    partner = derangement(n, torch.Generator().manual_seed(n))
    assert sorted(partner.tolist()) == list(range(n))
    assert (partner != torch.arange(n)).all()


def test_one_user_alone_has_no_one_to_swap_with() -> None:
    w = world(users=1)
    report = evaluate(Bayes(w.types), w.index, w.vectors, ks=(0, 2), resamples=20)
    assert set(report.controls["shuffled_user"]["accuracy"]) == {0}
    assert set(report.model["accuracy"]) == {0, 2}
    report.to_markdown()


def test_rounding_above_1_is_forgiven(people: World) -> None:
    report = evaluate(
        Linear(1000 * people.types[0], tie_mass=-1e-6), people.index, people.vectors, ks=(0,), resamples=5
    )
    assert 0 < report.model["brier"][0] < 1


@pytest.mark.parametrize(
    ("model", "message"),
    [(Constant(math.nan), "NaN"), (Constant(1.2), "outside 0..1"), (Constant(0.9), "expected 1 or less")],
)
def test_a_model_that_breaks_the_protocol_is_named(people: World, model: Constant, message: str) -> None:
    with pytest.raises(ModelFormatError, match=f"'constant'.*{message}"):
        evaluate(model, people.index, people.vectors, ks=(0,))


def test_a_model_of_the_wrong_shape_is_named(people: World) -> None:
    class Flat(Constant):
        def prefer(self, state, a, b):
            return torch.full((len(state),), 0.5)

    with pytest.raises(ModelFormatError, match="users pairs"):
        evaluate(Flat(), people.index, people.vectors, ks=(0,))


@pytest.mark.parametrize("setting", [{"ks": ()}, {"ks": (-1, 2)}, {"resamples": 0}, {"parts": {"x": torch.ones(3)}}])
def test_bad_settings_are_refused(people: World, setting: dict) -> None:
    with pytest.raises(ConfigError):
        evaluate(Constant(), people.index, people.vectors, **setting)


def test_an_item_store_will_do(people: World) -> None:
    class Store:
        def __getitem__(self, ids: torch.Tensor) -> torch.Tensor:
            assert ids.ndim == 1
            return people.vectors[ids]

    model = Bayes(people.types)
    assert evaluate(model, people.index, Store(), ks=(3,), resamples=5) == evaluate(
        model, people.index, people.vectors, ks=(3,), resamples=5
    )
