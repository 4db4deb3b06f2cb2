"""Answers that the base writes for a reward to compare: whose they are, which are kept, and to what."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from moved_policy import moved
from policy_problems import Camps, camps, fit, short, weights
from torch import Tensor

import tacit.policies.base_answers as module
from tacit.choices.conversation import Conversation
from tacit.engines import Answer, Base, TransformersEngine, load_base
from tacit.policies.base_answers import more_answers, write_answers
from tacit.rewards import RewardModel
from tacit.steering import SteerablePolicy
from tacit.worlds.text.base_model import text_base

PROMPTS = ["What is it?", "Say a word", "Q"]
Z = torch.ones(1, 4)


def written(base: Base, prompts: list[str] = PROMPTS, count: int = 3, **more: Any) -> list[tuple[str, str]]:
    return write_answers(TransformersEngine(base), prompts, count, **({"longest": 12} | more))


class Drawn:
    """In place of what asks the base: always these texts, ended or not, and a note of what was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answers: list[tuple[str, bool]]) -> None:
        self.answers, self.asked, self.settings = answers, list[list[str]](), list[Any]()
        monkeypatch.setattr(TransformersEngine, "generate", self)

    def __call__(self, requests: list[Any]) -> Any:
        assert all(request.z is None for request in requests)
        self.asked.append([request.messages.text for request in requests])
        self.settings.append(requests[0].sampling)
        return [[Answer(text, ended, 1) for text, ended in self.answers] for _ in requests]


# -- what is written ---------------------------------------------------------------------------------------------------


def test_they_are_the_bases_own_and_the_seeds(reward: RewardModel) -> None:
    """With a policy attached that steers somebody else; sentences are whole."""
    base = load_base(str(text_base()))
    prompts = ["How do I roast carrots?", "What should I know about tea?"]
    found = written(base, prompts, longest=60)
    assert {prompt for prompt, _ in found} == set(prompts)
    assert len(set(found)) == len(found) > 4
    assert all(text[-1] in ".!?" for _, text in found)
    dialogue = TransformersEngine(base).dialogue
    assert max(len(dialogue.response(Conversation.parse(prompt), answer)) for prompt, answer in found) <= 61
    torch.manual_seed(5)
    assert written(base, prompts, longest=60) == found
    assert written(base, prompts, longest=60, seed=1) != found
    with TransformersEngine(base, moved(SteerablePolicy.new(base, reward))) as engine, engine.steered(Z):
        assert write_answers(engine, prompts, 3, longest=60) == found


def test_what_does_not_end_is_cut_after_a_sentence(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    Drawn(monkeypatch, [
        ("It ends", True), ("One. Two! Thr", False), ('He said "no." An', False), ("3.5 litr", False), ("", True),
        ("It ends", True), ("一。二", False), ("Use **bold.** Then", False), ("1. First\n2. Sec", False),
        ("Pas une phrase", False), ("वह। फिर", False),
    ])  # fmt: skip
    found = [text for _, text in written(base, ["Q"], longest=40)]
    assert found == ["It ends", "One. Two!", 'He said "no."', "一。", "Use **bold.**", "वह।"]


def test_an_answer_that_reads_back_longer_is_left_out(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    Drawn(monkeypatch, [("x" * 12, True), ("y" * 13, True)])
    assert written(base, ["Q"]) == [("Q", "x" * 12)]


def test_prompts_of_like_length_share_a_batch_and_too_long_ones_get_nothing(
    base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = Drawn(monkeypatch, [("a.", True)])
    monkeypatch.setattr(module, "_ROWS_CPU", 8)
    done: list[tuple[int, int]] = []
    fits = 96 - 12 - 1 - len("<") - 1  # context, answer and its end, <s> and the line break
    prompts = ["c" * fits, "aa", "b" * (fits + 1), "a", "aaa"]
    found = written(base, prompts, count=3, progress=lambda *so_far: done.append(so_far))
    assert drawn.asked == [["a", "aa"], ["aaa", "c" * fits]]
    assert [prompt for prompt, _ in found] == ["a", "aa", "aaa", "c" * fits]
    assert done == [(2, 4), (4, 4)]
    assert len({sampling.seed for sampling in drawn.settings}) == 2, "batches would be drawn alike"
    assert all((one.samples, one.max_new_tokens) == (3, 12) for one in drawn.settings)


def test_they_are_kept_for_the_same_question_to_the_same_base(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn, file = Drawn(monkeypatch, [("ünï.", True)]), tmp_path / "written.json"
    first = written(base, file=file)
    assert written(base, file=file) == first
    assert len(drawn.asked) == 1
    for more in ({"seed": 1}, {"longest": 11}, {"count": 2}, {"prompts": ["Q"]}):
        calls = len(drawn.asked)
        written(base, **({"file": file} | more))
        assert len(drawn.asked) == calls + 1, f"another {more} was taken for the same"
    for damaged in ("{", "[1]"):
        file.write_text(damaged)
        assert written(base, file=file) == first
    assert written(base, file=file) == first


# -- for which prompts -------------------------------------------------------------------------------------------------


def test_prompts_of_few_known_answers_get_new_ones(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = Drawn(monkeypatch, [("known", True), ("new", True)])
    items = [("many", f"{number}") for number in range(4)] + [("few", "known"), ("few", "b"), ("unused", "x")]
    used = torch.tensor([True] * 6 + [False])
    found = more_answers(TransformersEngine(base), items, used, short(teacher="reward", compared=4, written=5, seed=3))
    assert found == [("few", "new")]
    assert drawn.asked == [["few"]]
    assert drawn.settings[0].samples == 5
    assert drawn.settings[0].max_new_tokens == 16, "all answers are shorter"
    longer = [*items, *(("many", "x" * (20 + number // 2)) for number in range(100))]
    more_answers(
        TransformersEngine(base), longer, torch.cat([used, torch.ones(100, dtype=torch.bool)]), short(compared=4)
    )
    assert drawn.settings[1].max_new_tokens > 60, "most answers are of 20 to 70 tokens"
    assert not more_answers(TransformersEngine(base), items, used, short(compared=2))
    assert len(drawn.asked) == 2


def test_prompts_that_leave_no_room_do_not_take_the_place_of_others(
    base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    Drawn(monkeypatch, [("new", True)])
    monkeypatch.setattr(module, "_PROMPTS", 2)
    items = [(f"{number} {'x' * 80}", "a") for number in range(30)] + [("short", "a"), ("brief", "a")]
    found = more_answers(TransformersEngine(base), items, torch.ones(32, dtype=torch.bool), short(written=1))
    assert found == [("brief", "new"), ("short", "new")]


def test_of_very_many_prompts_some_at_random_are_written_for(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = Drawn(monkeypatch, [("new", True)])
    monkeypatch.setattr(module, "_PROMPTS", 20)
    items = [(f"{number:04}", "a") for number in range(200)]
    more_answers(TransformersEngine(base), items, torch.ones(200, dtype=torch.bool), short(written=1))
    asked = [int(prompt) for prompt in itertools.chain(*drawn.asked)]
    assert len(set(asked)) == 20
    assert min(asked) < 60
    assert max(asked) > 140
    for most, prompts in ((9, 3), (1, 1)):
        drawn.asked.clear()
        more_answers(TransformersEngine(base), items, torch.ones(200, dtype=torch.bool), short(written=3), most=most)
        assert len(list(itertools.chain(*drawn.asked))) == prompts


# -- in training -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def world() -> Camps:
    return camps(users=6, choices=6, prompts=16)


def embedded(items: Any) -> Tensor:
    """A vector shows how long a text is."""
    return torch.tensor([[float(len(text))] + [0.0] * 7 for _, text in items])


def test_the_teacher_compares_what_was_written(
    shared_base: Base, world: Camps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the prompts of training and to no other, where a reward is inferred and there is something to read it with."""
    drawn = Drawn(monkeypatch, [("new one", True), ("and another", True)])
    seen: list[Any] = []
    monkeypatch.setattr("tacit.policies.fit.set_scales", lambda _, pairs, *__, **___: seen.append(pairs))
    taught = short(teacher="reward", written=2, max_steps=8)
    found = {
        "written": fit(shared_base, tmp_path / "a", world, training=taught, embed=embedded),
        "again": fit(shared_base, tmp_path / "b", world, training=taught, embed=embedded),
        "nothing to read with": fit(shared_base, tmp_path / "c", world, training=taught),
        "none": fit(shared_base, tmp_path / "d", world, training=short(teacher="reward", written=0, max_steps=8),
                    embed=embedded),
    }  # fmt: skip
    asked = set(itertools.chain(*drawn.asked))
    assert asked == {f"q{prompt}" for prompt in range(8)}, "validation is about q8 to q15"
    assert len(drawn.asked) == 2
    known = {name: weights(policy) for name, policy in found.items()}
    assert torch.equal(known["written"], known["again"])
    assert torch.equal(known["none"], known["nothing to read with"])
    assert not torch.equal(known["written"], known["none"])
    teacher, plain = seen[0].teacher, seen[-1].teacher
    assert teacher.answers.max() == len(world.items) + 15
    assert ((teacher.answers >= len(world.items)).sum(1)[:8] == 2).all()
    assert plain.answers.max() < len(world.items)
    texts = {len(world.items) + place for place in range(16)}
    rows, z = torch.arange(64) % len(world.train), torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    pairs, _ = teacher.pairs(world.train.user[rows], world.train.items[rows, 0], z, rows)
    assert texts & set(pairs.flatten().tolist()), "nothing that was written was ever best or worst"
    batch = seen[0].collate([(0, number) for number in range(8)])
    assert bool((batch["reference"] < 0).all()), "the base was not asked about what it wrote"


def test_what_cannot_be_read_is_not_compared(
    shared_base: Base, world: Camps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Drawn(monkeypatch, [("one", True), ("three", True)])
    seen: list[Any] = []
    monkeypatch.setattr("tacit.policies.fit.set_scales", lambda _, pairs, *__, **___: seen.append(pairs))

    def broken(items: Any) -> Tensor:
        return torch.tensor([[1e6 if text == "three" else 1.0] * 8 for _, text in items])  # beyond half precision

    training = short(teacher="reward", written=2, max_steps=8, eval_steps=8)
    policy = fit(shared_base, tmp_path, world, training=training, embed=broken)
    assert policy.notes["answers_written"] == 8
    assert ((seen[0].teacher.answers >= len(world.items)).sum(1)[:8] == 1).all()


def test_nothing_is_written_where_choices_or_another_reward_teach(
    shared_base: Base, world: Camps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = Drawn(monkeypatch, [("new one", True)])
    fit(shared_base, tmp_path / "a", world, training=short(written=2), embed=embedded)
    given = (lambda users, items, z: items.float(),) * 2
    fit(shared_base, tmp_path / "b", world, training=short(teacher="reward", written=2), embed=embedded, rewards=given)
    assert not drawn.asked
