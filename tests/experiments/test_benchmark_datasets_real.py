import numpy as np
import pytest
import torch
from dataset_sources import SOURCES, make

from tacit.evaluation.benchmark.task import side_of_choices
from tacit_experiments.datasets.polis import FOLDER, read_poll
from tacit_experiments.datasets.summeval import RATINGS, read_summaries
from tacit_experiments.datasets.surface import SURFACE, surface


def test_polis_validation_never_meets_what_any_seed_tests():
    tasks = [make("polis-unseen", seed) for seed in range(3)]
    tested = torch.stack([task.test.targets for task in tasks]).any(0)
    for task in tasks:
        assert not (task.validation.targets & tested).any()
        assert task.validation.n_users == 305
    everybody = [task.test.n_users for task in tasks]
    assert sum(everybody) + 305 < 2031
    assert not torch.equal(tasks[0].test.targets, tasks[1].test.targets)


def test_polis_seen_asks_the_same_and_trains_on_more():
    unseen, seen = make("polis-unseen"), make("polis-seen")
    assert torch.equal(unseen.test.index.items, seen.test.index.items)
    assert torch.equal(unseen.test.targets, seen.test.targets)
    group = seen.train.index.group
    assert seen.test.targets[group].any()
    assert seen.validation.targets[group].any()
    assert len(seen.test.targets[group].any(1).unique()) == 2


def test_polis_choices_are_votes():
    task = make("polis-seen")
    poll = read_poll(SOURCES.folder(FOLDER))
    assert poll.votes.shape == (2031, 607)
    index = task.train.index
    chosen, rejected = (index.items[:, slot].numpy() for slot in (0, 1))
    voters = np.flatnonzero((poll.votes[:, chosen[0]] == 1) & (poll.votes[:, rejected[0]] == -1))
    assert len(voters)
    own = index.user == index.user[0]
    pairs = index.items[own].numpy()
    fits = (poll.votes[:, pairs[:, 0]] == 1).all(1) & (poll.votes[:, pairs[:, 1]] == -1).all(1)
    assert fits.any()  # somebody cast every vote that the first training user's pairs speak of
    assert int(index.counts.max()) == 200


def test_summaries_of_one_article_are_different_to_an_uncased_encoder():
    make("summeval-two")
    data = read_summaries(SOURCES.folder("summeval"))
    keys = {(a, "".join(s.lower().split())) for a, s in zip(data.article_of.tolist(), data.summaries, strict=True)}
    assert len(keys) == len(data.summaries)
    assert len(data.articles) == 100
    assert data.ratings.shape == (len(data.summaries), 4)
    torch.testing.assert_close(data.standardised.std(0, correction=0), torch.ones(4))
    assert 1 <= data.ratings.min() < data.ratings.max() <= 5


@pytest.mark.parametrize("name", ["summeval-two", "summeval-three", "summeval-simplex"])
def test_summeval_users_choose_as_noisily_as_said(name):
    task = make(name)
    assert task.facts["oracle_accuracy"] == pytest.approx(0.85, abs=0.02)
    for part in (task.train, task.validation, task.test):
        reward = part.truth.gather(1, part.index.items.view(part.n_users, -1)).view(-1, 2)
        assert (reward[:, 0] != reward[:, 1]).all()
        assert (part.index.counts == 50).all()
        first, second = part.index.group.unbind(1)
        assert torch.equal(first, second)
    assert task.vectors.shape == (len(task.vectors), 2 * 4 + 1 + len(SURFACE))
    assert (task.test.types is None) == (name == "summeval-simplex")


def test_simplex_users_care_for_all_ratings():
    make("summeval-simplex")
    task, data = make("summeval-simplex"), read_summaries(SOURCES.folder("summeval"))
    weights = torch.linalg.lstsq(data.standardised, task.test.truth.T).solution.T
    shares = weights / weights.sum(1, keepdim=True)
    assert (shares > -1e-4).all()
    torch.testing.assert_close(shares.mean(0), torch.full((len(RATINGS),), 0.25), atol=0.06, rtol=0)


def test_surface_tells_a_copy_from_an_invention():
    article = "The cat sat on the mat . Then the dog came and the cat ran away ."
    copied = dict(zip(SURFACE, surface(article, "the dog came and the cat ran away ."), strict=True))
    invented = dict(zip(SURFACE, surface(article, "birds sing birds sing birds sing"), strict=True))
    assert copied["bigrams_found"] == copied["words_found"] == 1
    assert np.expm1(copied["log_longest_copy"]) == pytest.approx(9)
    assert copied["repetition"] == 0
    assert invented["words_found"] == invented["log_longest_copy"] == 0
    assert invented["repetition"] == pytest.approx(3 / 5)
    broken = dict(zip(SURFACE, surface(article, "the dog sat on mat away"), strict=True))
    assert np.expm1(broken["log_longest_copy"]) == pytest.approx(2)
    assert surface(article, "word")[1] == 0


def test_ukp_topics_are_whole():
    task = make("ukp")
    topics = {prompt for prompt, _ in task.texts}
    assert len(topics) == 32
    assert "ban plastic water bottles: no bad for the economy" in topics
    context, target = side_of_choices(task.test)
    title = np.array([prompt for prompt, _ in task.texts])[task.test.index.items.numpy()]
    assert (title[:, 0] == title[:, 1]).all()
    assert not set(title[context.numpy()].ravel()) & set(title[target.numpy()].ravel())
    assert int(task.train.index.counts.sum()) == len(task.train.index)
