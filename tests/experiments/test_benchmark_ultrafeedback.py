"""HH and HHT users: who is asked what, how often types conflict, and that nothing held out is seen in training."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tacit.errors import ChoiceError, ConfigError
from tacit.evaluation import evaluation_episodes
from tacit.evaluation.benchmark import Part, Task
from tacit_experiments.datasets.ultrafeedback import ultrafeedback_task
from tacit_experiments.datasets.ultrafeedback_pairs import CandidatePairs, PairDraw
from tacit_experiments.datasets.ultrafeedback_reader import RATINGS, RatedResponses, read_ultrafeedback

PARTS = ("train", "validation", "test")
SIZES: dict[str, Any] = {"users": (12, 6, 6), "choices": (8, 4), "ks": (0, 1, 5)}


def write_source(path: Path, prompts: int = 120) -> Path:
    """Prompts of four completions with independent ratings, so that types conflict often, and every kind of dirt."""
    rng = np.random.default_rng(5)
    rows: list[dict[str, Any]] = []
    for p in range(prompts):
        ratings = rng.integers(1, 6, (4, 4)).astype(str)
        ratings[rng.random((4, 4)) < 0.03] = "N/A"
        completions = [
            {
                "model": f"m{c}",
                "response": f"Answer {c} to {p} ça va 你好",
                "annotations": {
                    name: {"Rating": str(r), "Rationale": "…"} for name, r in zip(RATINGS, ratings[c], strict=True)
                },
            }
            for c in range(4)
        ]
        rows.append({"source": "x", "instruction": f"Question {p}?", "completions": completions})
    rows[3]["completions"] = []
    rows[4]["completions"][0]["response"] = ""
    rows[5]["completions"][1]["response"] = rows[5]["completions"][0]["response"]
    rows.append(rows[7])
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def rated(tmp_path_factory: pytest.TempPathFactory) -> RatedResponses:
    return read_ultrafeedback(write_source(tmp_path_factory.mktemp("uf") / "uf.jsonl"))


def vectors(items: Sequence[tuple[str, str]]) -> Tensor:
    return torch.arange(2.0 * len(items)).reshape(-1, 2)


def task(rated: Any, seed: int = 0, **settings: Any) -> Task:
    return ultrafeedback_task(rated, seed=seed, vectors=vectors, **{**SIZES, **settings})


def parts(task: Task) -> list[Part]:
    return [getattr(task, name) for name in PARTS]


def prompts_of(task: Task, part: Part, target: bool | None = None) -> set[str]:
    """The prompts of a part's choices: all of them, or those on the target or the context side."""
    assert task.texts
    kept = slice(None) if target is None else part.targets[part.index.group[:, 0]] == target
    return {task.texts[i][0] for i in part.index.items[kept].flatten().tolist()}


def ratings_of(task: Task, rated: RatedResponses) -> np.ndarray:
    """Float[items 4]: the ratings of the task's items, by text."""
    known = {rated.item(i): rated.ratings[i] for i in range(len(rated.responses))}
    return np.stack([known[item] for item in task.texts or ()])


def conflicts(task: Task, part: Part, rated: RatedResponses, objectives: Sequence[str]) -> Tensor:
    """Bool[choices]: whether another type orders the pair the other way, straight from the definition."""
    columns = [RATINGS.index(name) for name in objectives]
    first, second = ratings_of(task, rated)[part.index.items.numpy()].transpose(1, 0, 2)
    assert part.types is not None
    found = []
    for a, b, kind in zip(first[:, columns], second[:, columns], part.types[part.index.user].tolist(), strict=True):
        found.append(a[kind] > b[kind] and bool((a < b).any()))
    return torch.tensor(found)


@pytest.mark.parametrize("pairs", ["conflict", "all"])
@pytest.mark.parametrize("seed", [0, 1])
def test_no_held_out_prompt_is_seen_in_training_or_context(rated: RatedResponses, pairs: str, seed: int) -> None:
    drawn = task(rated, seed, pairs=pairs)
    train, validation, test = (prompts_of(drawn, part) for part in parts(drawn))
    asked = [prompts_of(drawn, part, target=True) for part in (drawn.validation, drawn.test)]
    assert not train & (asked[0] | asked[1])
    assert not validation & asked[1]
    assert not test & asked[0]
    for part in (drawn.validation, drawn.test):
        assert not part.targets[drawn.train.index.group].any()


def test_validation_prompts_of_one_seed_never_test_in_another(rated: RatedResponses) -> None:
    drawn = [task(rated, seed) for seed in range(5)]
    validated = set[int]().union(*(task.validation.targets.nonzero().flatten().tolist() for task in drawn))
    tested = set[int]().union(*(task.test.targets.nonzero().flatten().tolist() for task in drawn))
    assert not validated & tested
    assert drawn[0].test.targets.tolist() != drawn[1].test.targets.tolist()


def test_a_tenth_of_the_prompts_is_held_out_for_each() -> None:
    n = 3000
    texts = tuple(f"Question {i}?" for i in range(n))
    ratings = np.tile([[5, 1, 1, 1], [1, 5, 1, 1]], (n, 1)).astype(np.float32)
    many = RatedResponses(texts, ("yes", "no") * n, np.repeat(np.arange(n), 2), ratings, "many", {})
    held_out = [int(part.targets.sum()) for part in parts(task(many))[1:]]
    assert held_out == pytest.approx([300, 300], abs=45)  # 2.5 standard deviations


def test_every_user_brings_the_choices_asked_for_from_distinct_prompts(rated: RatedResponses) -> None:
    drawn = task(rated)
    for part, users in zip(parts(drawn), SIZES["users"], strict=True):
        assert part.n_users == users
        assert part.index.counts.tolist() == [12] * users
        for user in range(users):
            groups = part.index.group[part.index.user == user]
            assert bool((groups[:, 0] == groups[:, 1]).all())
            assert len(groups[:, 0].unique()) == 12
            if part is not drawn.train:
                assert int(part.targets[groups[:, 0]].sum()) == 4
        assert part.types is not None
        assert part.types.bincount().tolist() == [users // 2] * 2


@pytest.mark.parametrize("objectives", [("helpfulness", "honesty"), ("helpfulness", "honesty", "truthfulness")])
def test_a_user_prefers_the_response_their_own_rating_prefers(rated: RatedResponses, objectives: tuple) -> None:
    drawn = task(rated, objectives=objectives, pairs="all")
    ratings = ratings_of(drawn, rated)
    for part in parts(drawn):
        assert part.types is not None
        assert part.index.rank.unique(dim=0).tolist() == [[0, 1]]
        column = [RATINGS.index(objectives[kind]) for kind in part.types[part.index.user].tolist()]
        chosen, rejected = (ratings[part.index.items[:, slot], column] for slot in (0, 1))
        assert (chosen > rejected).all()


def test_all_pairs_of_hh_conflict(rated: RatedResponses) -> None:
    for objectives in (RATINGS[:2], RATINGS[:3]):
        drawn = task(rated, objectives=objectives)
        assert all(bool(conflicts(drawn, part, rated, objectives).all()) for part in parts(drawn))


def test_the_natural_share_is_left_alone(rated: RatedResponses) -> None:
    drawn = task(rated, pairs="all", users=(40, 2, 2))
    share = conflicts(drawn, drawn.train, rated, RATINGS[:2]).float().mean()
    strict = CandidatePairs.of(rated, RATINGS[:2])
    natural = strict.conflict[:, 0].sum() / (strict.sign[:, 0] != 0).sum()
    assert float(share) == pytest.approx(float(natural), abs=0.08)
    assert 0.2 < natural < 0.6


@pytest.mark.parametrize("pairs", ["conflict", "all"])
@pytest.mark.parametrize(("context", "target"), [(0.0, 1.0), (0.25, 0.5), (0.6, 0.0), (1.0, 0.25)])
def test_conflict_shares_are_met_by_every_user(
    rated: RatedResponses, pairs: str, context: float, target: float
) -> None:
    drawn = task(rated, pairs=pairs, context_conflict=context, target_conflict=target)
    for part in parts(drawn):
        conflict = conflicts(drawn, part, rated, RATINGS[:2])
        for user in range(part.n_users):
            own = part.index.user == user
            assert len(part.index.group[own].unique()) == 12
            asked = part.targets[part.index.group[:, 0]]
            if part is drawn.train:  # both sides on training prompts
                assert int(conflict[own].sum()) == round(8 * context) + round(4 * target)
            else:
                assert int(conflict[own & ~asked].sum()) == round(8 * context)
                assert int(conflict[own & asked].sum()) == round(4 * target)
    assert drawn.facts["test context conflict"] == round(8 * context) / 8
    assert drawn.facts["test target conflict"] == target


def test_a_draw_leaves_shared_prompts_to_whoever_needs_them() -> None:
    # Prompt 0 has a conflicting and an agreeing pair, prompts 1 and 2 a conflicting one only.
    sign = np.array([[1, -1], [1, 1], [1, -1], [1, -1]], np.int8)
    pairs = CandidatePairs(np.zeros((4, 2), np.int64), np.array([0, 0, 1, 2]), sign, sign != sign[:, ::-1], 0)
    draw = PairDraw.of(pairs, np.ones(4, bool), 0, size=3, share=2 / 3, what="who")
    for seed in range(20):
        assert sorted(draw(np.random.default_rng(seed), np.empty(0, np.int64)).tolist()) == [1, 2, 3]
    with pytest.raises(ChoiceError, match=r"who needs 2 different prompts .* and 1 different .*; there are 2 and 0"):
        draw(np.random.default_rng(0), np.array([0]))


def test_ties_are_kept_when_asked_for_and_only_then(rated: RatedResponses) -> None:
    drawn = task(rated, pairs="all", ties=True)
    ratings, share = ratings_of(drawn, rated), []
    for part in parts(drawn):
        assert part.types is not None
        column = part.types[part.index.user]
        first, second = (ratings[part.index.items[:, slot], column] for slot in (0, 1))
        tied = torch.from_numpy(first == second)
        torch.testing.assert_close(part.index.rank, torch.stack([torch.zeros_like(column), (~tied).long()], dim=1))
        share.append(float(tied.float().mean()))
    assert 0.1 < share[0] < 0.3
    assert drawn.facts["test context ties"] != 0


def test_each_response_is_embedded_once_and_vectors_follow_the_texts(rated: RatedResponses) -> None:
    calls: list[list[tuple[str, str]]] = []

    def counting(items: list[tuple[str, str]]) -> Tensor:
        calls.append(items)
        return vectors(items)

    drawn = ultrafeedback_task(rated, seed=0, vectors=counting, **SIZES)
    used = torch.cat([part.index.items.flatten() for part in parts(drawn)]).unique()
    assert len(calls) == 1
    assert len(set(calls[0])) == len(calls[0]) == len(drawn.vectors) == drawn.facts["items"]
    assert tuple(calls[0]) == drawn.texts
    assert used.tolist() == list(range(len(calls[0])))


def test_the_same_seed_gives_the_same_task_and_another_another(rated: RatedResponses) -> None:
    first, again, other = task(rated, 3), task(rated, 3), task(rated, 4)
    assert first.texts == again.texts
    assert first.facts == again.facts
    for a, b in zip(parts(first), parts(again), strict=True):
        assert torch.equal(a.index.items, b.index.items)
        assert torch.equal(a.targets, b.targets)
    assert not torch.equal(first.train.index.group, other.train.index.group)


def test_more_users_leave_the_first_ones_as_they_were(rated: RatedResponses) -> None:
    few, many = task(rated), task(rated, users=(20, 6, 6))
    assert torch.equal(few.train.index.group, many.train.index.group[: len(few.train.index)])


def test_facts_count_what_was_dropped_and_what_conflicts(rated: RatedResponses) -> None:
    facts = task(rated, pairs="all").facts
    assert (facts["rows"], facts["rows without completions"], facts["repeated instructions"]) == (121, 1, 1)
    assert (facts["blank responses"], facts["repeated responses"]) == (1, 5)
    assert facts["train prompts"] + facts["validation prompts"] + facts["test prompts"] == 119  # type: ignore[operator]
    ratings = rated.of(RATINGS[:2])
    difference = np.array([ratings[a] - ratings[b] for a, b in rated.pairs()])
    product = difference.prod(axis=1)
    assert facts["pairs of unknown rating"] == np.isnan(difference).any(axis=1).sum() > 0
    assert facts["strict pairs helpfulness/honesty"] == (np.abs(product) > 0).sum()
    assert facts["conflict helpfulness/honesty"] == pytest.approx(
        (product < 0).sum() / (np.abs(product) > 0).sum(), abs=1e-4
    )
    json.dumps(facts)


def test_the_task_can_be_evaluated(rated: RatedResponses) -> None:
    test = task(rated).test
    episodes = evaluation_episodes(test.index, max_k=5, target_groups=test.targets)
    assert episodes.n_targets.tolist() == [4] * 6
    assert episodes.n_context.tolist() == [8] * 6
    assert episodes.crossing == 0


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "unknown-rating": ({"objectives": ("helpfulness", "humour")}, "no rating 'humour'"),
    "one-objective": ({"objectives": ("honesty",)}, "two or more different ratings"),
    "twice": ({"objectives": ("honesty", "honesty")}, "two or more different ratings"),
    "pairs": ({"pairs": "some"}, "expected 'conflict' or 'all'"),
    "share": ({"target_conflict": 1.5}, "target_conflict is 1.5; expected a share from 0 to 1"),
    "ties": ({"ties": True}, "a tied pair is no conflict"),
    "users": ({"users": (4, 4)}, "expected train, validation and test"),
    "few-users": ({"users": (4, 1, 4)}, "each at least 2"),
    "choices": ({"choices": (8, 0)}, "each at least 1"),
    "ks": ({"ks": (0, 9)}, "expected context sizes from 0 to the 8 context choices"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_settings_that_make_no_sense_are_refused(rated: RatedResponses, case: str) -> None:
    settings, message = REFUSED[case]
    with pytest.raises(ConfigError, match=message):
        task(rated, **settings)


def test_too_few_prompts_are_told_with_numbers(rated: RatedResponses, tmp_path: Path) -> None:
    with pytest.raises(
        ChoiceError, match=r"a helpfulness user on validation prompts needs 40 different prompts .* are"
    ):
        task(rated, choices=(5, 40))
    with pytest.raises(ChoiceError, match="has 8 prompts; expected at least 10"):
        task(write_source(tmp_path / "few.jsonl", prompts=9))
