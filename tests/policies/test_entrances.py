"""One item at every entrance: what is trained on, scored, paid and ranked is the same, in whatever form it is said."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from ranking import Ranking

from tacit.choices import read_choices
from tacit.cli import main
from tacit.embedders import item_vectors
from tacit.engines import Answer, Base, TransformersEngine
from tacit.errors import ChoiceError
from tacit.policies import personal_reward
from tacit.users import User, Users

TURNS = [
    {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Name a pet."},
    {"role": "assistant", "content": "A cat."}, {"role": "user", "content": "A smaller one."},
]  # fmt: skip
FORMS: dict[str, tuple[Any, Any]] = {
    "plain text": ("Name a pet.", "abc"),
    "one message": ([{"role": "user", "content": "Name a pet."}], [{"role": "assistant", "content": "abc"}]),
    "system and several turns": (TURNS, [{"role": "assistant", "content": "abc"}]),
    "text parts": (
        [{"role": turn["role"], "content": [{"type": "text", "text": turn["content"]}]} for turn in TURNS],
        {"role": "assistant", "content": [{"type": "text", "text": "abc"}]},
    ),
    "names of ShareGPT": (
        [{"from": {"user": "human", "assistant": "gpt"}.get(turn["role"], "system"), "value": turn["content"]}
         for turn in TURNS],
        {"from": "gpt", "value": "abc"},
    ),
}  # fmt: skip


@pytest.fixture
def ranking(base: Base) -> Ranking:
    return Ranking(base)


@pytest.mark.parametrize("form", FORMS)
def test_every_entrance_gives_the_same_reward(
    ranking: Ranking, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row of training data, `user.score`, `tacit score`, the reward for TRL, and the best of several."""
    prompt, answer = FORMS[form]
    rejected = "127" if isinstance(answer, str) else [{"role": "assistant", "content": "127"}]
    trained = reward_of_row(
        ranking, {"user_id": "u", "prompt": prompt, "chosen": answer, "rejected": rejected}, tmp_path
    )
    assert abs(trained[0] - trained[1]) > 1e-3

    state = ranking.users[torch.tensor([0])]
    user = User(ranking.reward, state, "u")
    assert [each.score for each in user.score(prompt, [answer, rejected])] == pytest.approx(trained, abs=1e-6)
    assert reward_of_cli(user, prompt, [answer, rejected], tmp_path) == pytest.approx(trained, abs=1e-6)
    paid = personal_reward(Users(ranking.reward, state, ["u"]))
    assert paid([prompt, prompt], [answer, rejected], user_id=["u", "u"]) == pytest.approx(trained, abs=1e-6)
    drawn = [Answer("127", True, 1), Answer("abc", True, 1)]
    monkeypatch.setattr(TransformersEngine, "generate", lambda *_: [drawn])
    (ranked,) = ranking.best([prompt], state)
    by_text = dict(zip(ranked.answers, ranked.rewards, strict=True))
    assert [by_text["abc"], by_text["127"]] == pytest.approx(trained, abs=1e-6)


def reward_of_row(ranking: Ranking, row: dict[str, Any], folder: Path) -> list[float]:
    """Of the items that training reads from a file."""
    (folder / "rows.jsonl").write_text(json.dumps(row) + "\n")
    table = read_choices(str(folder / "rows.jsonl"))
    vectors = item_vectors(table, ranking.embedder)[table.items[0]]
    return ranking.reward.score(ranking.users[torch.tensor([0])], vectors)[0].tolist()


def reward_of_cli(user: User, prompt: Any, answers: list[Any], folder: Path) -> list[float]:
    """Of `tacit score` with a saved model and profile, in the order of the answers."""
    user.model.save(folder / "model")
    user.save(folder / "profile.json")
    rows = [{"prompt": prompt, "response": answer} for answer in answers]
    (folder / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = folder / "ranking.json"
    words = ["score", folder / "model", folder / "items.jsonl", "--profile", folder / "profile.json", "--out", out]
    assert main([str(word) for word in words]) == 0
    scores = {each["response"]: each["score"] for each in json.loads(out.read_text())["ranking"]}
    return [scores["abc"], scores["127"]]


def test_turns_and_roles_are_part_of_the_item(ranking: Ranking) -> None:
    paid = personal_reward(Users(ranking.reward, ranking.users[torch.tensor([0])], ["u"]))
    found = paid([TURNS, TURNS[-1:], TURNS[1:]], ["abc"] * 3, user_id=["u"] * 3)
    assert len({round(reward, 6) for reward in found}) == 3


def test_an_answer_of_nothing_has_a_reward_too(ranking: Ranking) -> None:
    """Trainers draw some; a row of data never is one."""
    paid = personal_reward(Users(ranking.reward, ranking.users[torch.tensor([0])], ["u"]))
    empty = ["", " \n", [{"role": "assistant", "content": ""}]]
    found = paid(["Q"] * 3, empty, user_id=["u"] * 3)
    assert found == pytest.approx([ranking.worth(0, "Q", ("",)).item()] * 3, abs=1e-5)


@pytest.mark.parametrize("completion", [[{"role": "user", "content": "x"}], 7, [{"role": "assistant"}]], ids=str)
def test_what_is_no_answer_is_refused(ranking: Ranking, completion: Any) -> None:
    paid = personal_reward(Users(ranking.reward, ranking.users[torch.tensor([0])], ["u"]))
    with pytest.raises(ChoiceError) as caught:
        paid(["Q"], [completion], user_id=["u"])
    assert "\n" not in str(caught.value)
