"""A policy's reward model reads texts, through the base itself where it was trained so; it ranks answers and pays."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from moved_policy import answers, moved
from tiny_base import save_base
from torch import Tensor

import tacit.policies.best_of_n as module
from tacit.choices import read_choices
from tacit.embedders import Embedder, HashEmbedder, resolve_embedder
from tacit.encoders import UserStates
from tacit.engines import Answer, Base, Sampling, TransformersEngine, load_base
from tacit.episodes import ChoiceBatch
from tacit.errors import ChoiceError, EmbeddingError, StateMismatchError
from tacit.policies import Ranked, best_of, personal_reward, reward_embedder
from tacit.rewards import RewardConfig, RewardModel
from tacit.rewards.embedder_reference import EmbedderReference
from tacit.rewards.network import RewardNetwork
from tacit.steering import SteerablePolicy

ITEMS = [("What is it?", "a cat"), ("Say a word", "x"), ("Q", "many words, one after another"), ("Q", "no")]
SAMPLING = Sampling(samples=4, max_new_tokens=6)
Z = torch.tensor([[1.0, -2.0, 0.5, 1.5]])


def reader(embedder: Embedder) -> RewardModel:
    """An untrained reward model over an embedder's vectors, far from agreeing with everybody."""
    torch.manual_seed(1)
    network = RewardNetwork(embedder.dim, RewardConfig(members=1, latent=4)).eval()
    return RewardModel(network, embedder=EmbedderReference(embedder.spec, embedder.fingerprint))


def users_of(reward: RewardModel, embedder: Embedder, count: int = 2) -> UserStates:
    """Each of whom chose letters over digits or the other way round, many times."""
    letters = torch.from_numpy(embedder.embed([("Q", "abc" * (n + 1)) for n in range(6)])).float()
    digits = torch.from_numpy(embedder.embed([("Q", "127" * (n + 1)) for n in range(6)])).float()
    chosen = torch.stack([letters if user % 2 == 0 else digits for user in range(count)])
    rejected = torch.stack([digits if user % 2 == 0 else letters for user in range(count)])
    return reward.infer(ChoiceBatch.pairs(chosen, rejected))


@pytest.fixture(params=["llama", "gpt2"])
def own(request: pytest.FixtureRequest, base_folder: Path, gpt2_folder: Path) -> Embedder:
    """An embedder on a base's states, loaded for itself."""
    return resolve_embedder(str(base_folder if request.param == "llama" else gpt2_folder))


def no_second_model(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoModel

    def loading(*arguments: Any, **named: Any) -> None:
        raise AssertionError("a second model is loaded")

    monkeypatch.setattr(AutoModel, "from_pretrained", loading)


# -- whose embedder ----------------------------------------------------------------------------------------------------


def test_the_base_itself_is_read_where_it_is_the_same_model(own: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    reward, base, expected = reader(own), load_base(own.name), own.embed(ITEMS)
    no_second_model(monkeypatch)
    found = reward_embedder(reward, base)
    assert np.array_equal(found.embed(ITEMS), expected)
    assert (found.fingerprint, found.spec, found.dim) == (own.fingerprint, own.spec, own.dim)


def test_no_policy_on_the_base_changes_what_is_read(own: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither attached, nor while it steers, nor when the embedder is made meanwhile; and steering goes on after."""
    reward, base, expected = reader(own), load_base(own.name), own.embed(ITEMS)
    no_second_model(monkeypatch)
    before = reward_embedder(reward, base)
    engine, other = (TransformersEngine(base, moved(SteerablePolicy.new(base, reward), seed=seed)) for seed in (3, 4))
    steered = engine.log_probs(ITEMS, Z)
    assert (steered - engine.log_probs(ITEMS, None)).abs().min() > 0.01
    assert np.array_equal(before.embed(ITEMS), expected)
    with engine.steered(Z), other.steered(-Z):
        assert np.array_equal(before.embed(ITEMS), expected)
        assert np.array_equal(reward_embedder(reward, base).embed(ITEMS[:3]), own.embed(ITEMS[:3]))
        with engine.steered(Z):
            assert np.array_equal(before.embed(ITEMS), expected)
    assert torch.equal(engine.log_probs(ITEMS, Z), steered)


def test_the_window_is_the_reward_models(base_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = resolve_embedder(str(base_folder), max_length=16, pooling="mean")
    expected = own.embed(ITEMS)
    reward, base = reader(own), load_base(str(base_folder))
    no_second_model(monkeypatch)
    assert np.array_equal(reward_embedder(reward, base).embed(ITEMS), expected)


def test_the_base_may_be_named_by_another_path(
    base_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = resolve_embedder(str(base_folder))
    (tmp_path / "link").symlink_to(base_folder)
    monkeypatch.chdir(tmp_path)
    base = load_base("link")
    no_second_model(monkeypatch)
    assert np.array_equal(reward_embedder(reader(own), base).embed(ITEMS), own.embed(ITEMS))


@pytest.mark.parametrize("kind", ["hash", "another base"])
def test_another_embedder_is_loaded_beside_the_base(base: Base, tmp_path: Path, kind: str) -> None:
    own = HashEmbedder() if kind == "hash" else resolve_embedder(str(save_base(tmp_path / "other", seed=9)))
    found = reward_embedder(reader(own), base)
    assert found.fingerprint == own.fingerprint
    assert np.array_equal(found.embed(ITEMS), own.embed(ITEMS))


def test_a_base_that_has_changed_under_its_name_is_refused(tmp_path: Path) -> None:
    """Its vectors are not those that the reward model knows."""
    reward = reader(resolve_embedder(str(save_base(tmp_path / "base", seed=1))))
    base = load_base(str(save_base(tmp_path / "base", seed=2)))
    with pytest.raises(StateMismatchError, match="is not the one this model was trained with"):
        reward_embedder(reward, base)


def test_a_model_of_bare_vectors_cannot_read(base: Base, reward: RewardModel) -> None:
    with pytest.raises(EmbeddingError, match="trained on bare vectors"):
        reward_embedder(reward, base)


# -- the best of several -----------------------------------------------------------------------------------------------


class Ranking:
    """A policy over hashed texts with two users who like opposite things."""

    def __init__(self, base: Base) -> None:
        self.embedder = HashEmbedder()
        self.reward = reader(self.embedder)
        self.policy = moved(SteerablePolicy.new(base, self.reward))
        self.engine = TransformersEngine(base, self.policy)
        self.users = users_of(self.reward, self.embedder)

    def best(self, prompts: list[Any], users: UserStates, *, steered: bool = True) -> list[Ranked]:
        z = self.policy.latents(users) if steered else None
        return best_of(self.engine, self.reward, self.embedder, prompts, users, SAMPLING, z=z)

    def worth(self, user: int, prompt: str, answers: tuple[str, ...]) -> Tensor:
        vectors = torch.from_numpy(self.embedder.embed([(prompt, answer or " ") for answer in answers])).float()
        return self.reward.score(self.users[torch.tensor([user])], vectors)[0]


@pytest.fixture
def ranking(base: Base) -> Ranking:
    return Ranking(base)


def test_answers_are_ranked_by_their_users_own_reward(ranking: Ranking) -> None:
    prompts = ["one", "two"]
    found = ranking.best(prompts, ranking.users)
    drawn = answers(ranking.engine, prompts, ranking.policy.latents(ranking.users), SAMPLING)
    for user, (prompt, ranked) in enumerate(zip(prompts, found, strict=True)):
        assert sorted(ranked.answers) == sorted(drawn[user])
        assert list(ranked.rewards) == sorted(ranked.rewards, reverse=True)
        worth = ranking.worth(user, prompt, ranked.answers)
        assert ranked.rewards == pytest.approx(worth.tolist(), abs=1e-5)
        assert len(set(ranked.rewards)) > 1


def test_users_who_differ_rank_the_same_answers_otherwise(ranking: Ranking, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["abcabc", "127127", "abc127", ""]
    drawn = [Answer(text, True, 1) for text in texts]
    monkeypatch.setattr(TransformersEngine, "generate", lambda *_: [drawn, drawn])
    first, second = ranking.best(["Q", "Q"], ranking.users)
    assert sorted(first.answers) == sorted(second.answers) == sorted(texts), "also an empty answer has its place"
    assert first.answers.index("abcabc") < first.answers.index("127127")
    assert second.answers.index("127127") < second.answers.index("abcabc")


def test_one_user_may_ask_everything(ranking: Ranking) -> None:
    user = ranking.users[torch.tensor([1])]
    found = ranking.best(["one", "two", "three"], user)
    assert len(found) == 3
    assert found[2].rewards == pytest.approx(ranking.worth(1, "three", found[2].answers).tolist(), abs=1e-5)


def test_the_base_may_write_what_is_ranked(ranking: Ranking) -> None:
    user = ranking.users[torch.tensor([0])]
    (plain,) = ranking.best(["one"], user, steered=False)
    (steered,) = ranking.best(["one"], user)
    assert sorted(plain.answers) == sorted(answers(ranking.engine, ["one"], None, SAMPLING)[0])
    assert sorted(plain.answers) != sorted(steered.answers)


# -- a reward for others -----------------------------------------------------------------------------------------------


@pytest.fixture
def paid(ranking: Ranking) -> Callable[..., list[float]]:
    known = {"ann": ranking.users[torch.tensor([0])], "7": ranking.users[torch.tensor([1])]}
    return personal_reward(ranking.reward, known, ranking.embedder)


def test_each_row_is_paid_by_its_own_user(ranking: Ranking, paid: Callable[..., list[float]]) -> None:
    found = paid(
        prompts=["Q", "Q", "Q"], completions=["abc", "abc", "127"], user_id=["ann", 7, "7"],
        completion_ids=[[1], [1], [2]], trainer_state=None,
    )  # fmt: skip
    assert all(isinstance(reward, float) for reward in found)
    expected = [ranking.worth(user, "Q", (text,)).item() for user, text in ((0, "abc"), (1, "abc"), (1, "127"))]
    assert found == pytest.approx(expected, abs=1e-5)
    assert found[0] != pytest.approx(found[1], abs=1e-4)


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"user_id": ["ann", "bob"]}, "user 'bob' is not among the 2 known users"),
        ({}, "a column user_id"),
        ({"user_id": None}, "a column user_id"),
        ({"user_id": ["ann"]}, "one for every prompt"),
    ],
    ids=str,
)
def test_whom_nobody_knows_is_refused_in_one_line(
    paid: Callable[..., list[float]], columns: dict[str, Any], says: str
) -> None:
    with pytest.raises(ChoiceError, match=says) as caught:
        paid(prompts=["Q", "Q"], completions=["a", "b"], **columns)
    assert "\n" not in str(caught.value)


def test_trls_own_trainer_takes_it(base_folder: Path, tmp_path: Path, paid: Callable[..., list[float]]) -> None:
    """One step of GRPO: the column reaches the reward, and what it pays is what is noted."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    base, noted = load_base(str(base_folder)), []

    def reward(**named: Any) -> list[float]:
        noted.append((named["user_id"], paid(**named)))
        return noted[-1][1]

    arguments = GRPOConfig(
        output_dir=str(tmp_path), report_to="none", use_cpu=True, disable_tqdm=True, bf16=False, max_steps=1,
        per_device_train_batch_size=4, num_generations=2, max_completion_length=4, activation_checkpointing=False,
        save_strategy="no", logging_steps=1,
    )  # fmt: skip
    rows = Dataset.from_dict({"prompt": ["Q"] * 4, "user_id": ["ann", "7"] * 2})
    trainer = GRPOTrainer(
        model=base.model.requires_grad_(True), reward_funcs=reward, args=arguments, train_dataset=rows,
        processing_class=base.tokenizer,
    )  # fmt: skip
    trainer.train()
    users, rewards = noted[0]
    assert len(users) == len(rewards) == 4
    assert set(users) <= {"ann", "7"}
    assert trainer.state.log_history[0]["reward"] == pytest.approx(sum(rewards) / 4, abs=1e-4)


def test_the_module_says_which_model_it_reads_with(
    base: Base, base_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger=module.__name__)
    reward_embedder(reader(resolve_embedder(str(base_folder))), base)
    reward_embedder(reader(HashEmbedder()), base)
    said = [record.getMessage() for record in caplog.records]
    assert "one model in memory" in said[0]
    assert "loaded beside the base" in said[1]


# -- one item at every entrance ----------------------------------------------------------------------------------------

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


@pytest.mark.parametrize("form", FORMS)
def test_every_entrance_pays_what_a_row_of_data_is_worth(
    ranking: Ranking, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The item that training reads from a file, the reward for TRL, and the best of several."""
    prompt, answer = FORMS[form]
    rejected = "127" if isinstance(answer, str) else [{"role": "assistant", "content": "127"}]
    row = {"user_id": "u", "prompt": prompt, "chosen": answer, "rejected": rejected}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    table = read_choices(str(tmp_path / "rows.jsonl"))
    user = ranking.users[torch.tensor([0])]
    items = [table.item(int(item)) for item in table.items[0]]
    vectors = torch.from_numpy(ranking.embedder.embed(items)).float()
    trained = ranking.reward.score(user, vectors)[0].tolist()
    paid = personal_reward(ranking.reward, {"u": user}, ranking.embedder)
    assert paid([prompt, prompt], [answer, rejected], user_id=["u", "u"]) == pytest.approx(trained, abs=1e-6)
    drawn = [Answer("127", True, 1), Answer("abc", True, 1)]
    monkeypatch.setattr(TransformersEngine, "generate", lambda *_: [drawn])
    (ranked,) = ranking.best([prompt], user)
    by_text = dict(zip(ranked.answers, ranked.rewards, strict=True))
    assert [by_text["abc"], by_text["127"]] == pytest.approx(trained, abs=1e-6)
    assert abs(trained[0] - trained[1]) > 1e-3


def test_turns_and_roles_are_part_of_the_item(ranking: Ranking) -> None:
    paid = personal_reward(ranking.reward, {"u": ranking.users[torch.tensor([0])]}, ranking.embedder)
    found = paid([TURNS, TURNS[-1:], TURNS[1:]], ["abc"] * 3, user_id=["u"] * 3)
    assert len({round(reward, 6) for reward in found}) == 3


def test_an_answer_of_nothing_has_a_reward_too(ranking: Ranking) -> None:
    """Trainers draw some; a row of data never is one."""
    paid = personal_reward(ranking.reward, {"u": ranking.users[torch.tensor([0])]}, ranking.embedder)
    empty = ["", " \n", [{"role": "assistant", "content": ""}]]
    found = paid(["Q"] * 3, empty, user_id=["u"] * 3)
    assert found == pytest.approx([ranking.worth(0, "Q", ("",)).item()] * 3, abs=1e-5)


@pytest.mark.parametrize("completion", [[{"role": "user", "content": "x"}], 7, [{"role": "assistant"}]], ids=str)
def test_what_is_no_answer_is_refused(ranking: Ranking, completion: Any) -> None:
    paid = personal_reward(ranking.reward, {"u": ranking.users[torch.tensor([0])]}, ranking.embedder)
    with pytest.raises(ChoiceError) as caught:
        paid(["Q"], [completion], user_id=["u"])
    assert "\n" not in str(caught.value)
