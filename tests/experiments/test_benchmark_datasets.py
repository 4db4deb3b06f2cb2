import multiprocessing

import pytest
import torch
from dataset_sources import SOURCES, make

from tacit.errors import ConfigError
from tacit.evaluation.benchmark.datasets import DATASETS, Sources
from tacit.evaluation.benchmark.task import foreseen, side_of_choices
from tacit_experiments.datasets.folds import FOLDS, divide_groups, divide_people

KNOWN = "polis-seen"  # the one task whose asked groups others may have judged
ONE_PER_FAMILY = ["synthetic", "text-sphere-flip20", "drift", "polis-unseen", "summeval-simplex", "ukp"]


@pytest.mark.parametrize("name", DATASETS)
def test_nothing_asked_was_trained_on(name):
    task = make(name)
    assert task.name == name
    asked = task.validation.targets | task.test.targets
    if name != KNOWN:
        assert not asked[task.train.index.group].any()
    for part, other in ((task.validation, task.test), (task.test, task.validation)):
        assert not other.targets[part.index.group].any()
        context, target = side_of_choices(part)
        assert (context ^ target).all()  # no choice lies across, so no group is on both sides of anybody
        both = torch.bincount(part.index.user[context], minlength=part.n_users).clamp(max=1)
        both *= torch.bincount(part.index.user[target], minlength=part.n_users)
        assert (both >= 5).sum() >= 40  # people who can be shown a context and asked five questions
    assert (task.train.index.counts >= 2).sum() >= 200


@pytest.mark.parametrize("name", DATASETS)
def test_facts_tell_who_is_asked(name):
    task = make(name)
    _, target = side_of_choices(task.test)
    assert task.facts["test_target_choices"] == int(target.sum())
    assert task.facts["test_users"] == len(task.test.index.user[target].unique())
    if task.test.truth is not None:
        assert task.facts["oracle_accuracy"] == pytest.approx(foreseen(task.test), abs=1e-4)


@pytest.mark.parametrize("name", ONE_PER_FAMILY)
def test_one_seed_fixes_a_task_and_another_changes_it(name):
    first, other = make(name), make(name, 1)
    again = DATASETS[name].make(0, SOURCES)
    for part in ("train", "validation", "test"):
        a, b, c = (getattr(task, part) for task in (first, again, other))
        assert torch.equal(a.index.items, b.index.items)
        assert torch.equal(a.targets, b.targets)
        assert not (a.index.items.shape == c.index.items.shape and torch.equal(a.index.items, c.index.items))
    assert torch.equal(first.vectors, again.vectors)
    assert first.facts == again.facts


@pytest.mark.parametrize("name", ["synthetic", "text-discrete", "text-two", "summeval-two", "summeval-three"])
def test_types_tell_the_truth(name):
    for part in (make(name).validation, make(name).test):
        for kind in part.types.unique():
            own = part.truth[part.types == kind]
            assert torch.equal(own, own[:1].expand_as(own))


def test_synthetic_choices_are_without_noise():
    task = make("synthetic")
    assert task.facts["oracle_accuracy"] == 1
    assert task.vectors.shape[1] == 1


def test_registry_is_in_order_and_names_its_control():
    assert [name for name, dataset in DATASETS.items() if not dataset.signal] == ["ukp"]
    assert all(name == dataset.name for name, dataset in DATASETS.items())
    assert [dataset.family for dataset in DATASETS.values() if dataset.needs is None][-1] == "drift"


def test_absent_data_is_one_line(tmp_path):
    for sources in (Sources(), Sources(tmp_path)):
        with pytest.raises(ConfigError, match=r"\$TACIT_DATA .*'ukpconvarg'") as error:
            DATASETS["ukp"].make(0, sources)
        assert "\n" not in str(error.value)


def test_vectors_come_from_the_cache(tmp_path, monkeypatch):
    items = [("Say hello.", "Hi!"), ("Say hello.", "Good day."), ("", "Hi!")]
    fresh = Sources(cache=tmp_path / "cache").vectors(items, embedder="hash")
    monkeypatch.setattr("tacit.embedders.hashing.HashEmbedder.embed", lambda *_: pytest.fail("embedded twice"))
    assert torch.equal(Sources(cache=tmp_path / "cache").vectors(items[::-1], embedder="hash"), fresh.flip(0))
    monkeypatch.undo()
    assert torch.equal(Sources().vectors(items, embedder="hash"), fresh)


def _embed(folder, start):
    Sources(cache=folder).vectors([("", f"text {i}") for i in range(start, start + 40)], embedder="hash")


def test_processes_take_turns_at_the_cache(tmp_path):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_embed, args=(tmp_path, start)) for start in (0, 20, 0)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]


def test_people_and_groups_tested_never_validate():
    people = [divide_people(103, seed) for seed in range(FOLDS)]
    assert len(torch.cat([sides.test for sides in people])) + len(people[0].validation) == 103
    assert len(torch.cat([sides.test for sides in people]).unique()) == 103 - len(people[0].validation)
    groups = [divide_groups(50, seed, validation=8, test=12) for seed in range(20)]
    for sides in (*people, *groups):
        assert torch.equal(torch.cat(sides).sort().values, torch.arange(len(torch.cat(sides))))
    for divisions in (people, groups):
        tested = torch.cat([sides.test for sides in divisions])
        assert not torch.isin(torch.cat([sides.validation for sides in divisions]), tested).any()
    assert {len(sides.test) for sides in groups} == {12}
    assert not torch.equal(groups[0].test, groups[1].test)
