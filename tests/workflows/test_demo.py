import json

import pytest
import torch

from tacit.cli import main
from tacit.workflows.demo import CHOICES_SHOWN, text_demo
from tacit.workflows.plots import plot_people


@pytest.fixture(scope="module")
def story():
    return text_demo(1, users=200, choices_per_user=40, steps=60)


def test_people_are_strangers_with_different_wishes(story):
    assert len(story.people) == 3 == len({person.wants for person in story.people})
    for person in story.people:
        assert not story.trained.model.seen.knows_users([person.user_id]).any()
        assert not story.trained.model.seen.knows_prompts([person.question]).any()
        assert len(person.choices) == CHOICES_SHOWN
        assert person.question not in {choice.prompt for choice in person.choices}
        assert len(person.answers) == len(person.scores) == len(set(person.answers))


def test_the_same_answers_rank_differently(story):
    first, second, third = (person.scores for person in story.people)
    assert first != second != third
    assert len({person.best() for person in story.people}) > 1


def test_evaluation_is_on_new_prompts_with_every_control(story):
    assert set(story.report.controls) == {"pooled", "adaptation_off", "shuffled_user"}
    assert 0.84 < story.oracle_accuracy < 0.91
    assert story.report.n_users[20] > 20


def test_the_picture_has_one_scale_and_whole_sentences(story, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("tacit.workflows.plots.save_figure", lambda figure, path: drawn.append(figure))
    plot_people(tmp_path / "people.png", story.people)
    texts, *panels = drawn[0].axes
    assert len(panels) == 3
    assert len({panel.get_xlim() for panel in panels}) == 1
    low, high = panels[0].get_xlim()
    for person, panel in zip(story.people, panels, strict=True):
        true = torch.tensor(person.true_scores)
        marks = panel.lines[0].get_xdata()
        assert all(low <= mark <= high for mark in marks)
        assert {round(mark, 4) for mark in marks} <= {round(each, 4) for each in (true - true.mean()).tolist()}
        liked = max(range(len(person.scores)), key=person.scores.__getitem__)
        shown = [" ".join(text.get_text().split()) for text in texts.texts]
        assert any(person.answers[liked].startswith(text.removesuffix(" ...")) for text in shown)
    for text in texts.texts:
        assert text.get_text().removesuffix(" ...").rstrip()[-1] in ".!?"


@pytest.mark.slow
def test_the_verb_tells_the_whole_story(tmp_path, capfd):
    assert main(["demo", "--fast", "--out", str(tmp_path / "demo")]) == 0
    told = capfd.readouterr().out
    results = json.loads((tmp_path / "demo" / "results.json").read_text())
    assert set(results) == {"synthetic", "text", "people", "policy"}
    assert all(person["user_id"] in told and person["wants"] in told for person in results["people"])
    assert {path.name for path in (tmp_path / "demo").iterdir()} == {
        "results.json", "people.png", "synthetic_accuracy.png", "synthetic_rewards.png", "text_accuracy.png",
        "text_reliability.png", "continuum.png",
    }  # fmt: skip
    policy = results["policy"]
    assert [person["user_id"] for person in policy["people"]] == [person["user_id"] for person in results["people"]]
    assert len({person["answer"] for person in policy["people"]}) >= 2
    flat = " ".join(told.replace("│", " ").split())
    answers = [policy["base"], policy["stranger"], *(person["answer"] for person in policy["people"])]
    answers += [answer["response"] for answer in results["people"][0]["answers"]]
    answers += [
        choice[side]
        for person in results["people"]
        for choice in person["choices"][:2]
        for side in ("chosen", "rejected")
    ]
    assert all(" ".join(answer.split()) in flat for answer in answers), "an answer is told in part"
    assert [point["mix"] for point in policy["continuum"]] == [number / 10 for number in range(11)]
    points = {(point["first"], point["second"]) for point in policy["continuum"]}
    # Twenty steps do not teach which end is better for whom.
    assert len(points) > 3, "whoever it is written for, the answers are the same"
    assert results["text"]["model"]["accuracy"]["20"] > results["text"]["controls"]["pooled"]["accuracy"]["20"] + 0.1
