"""A policy's reward model reads texts, through the base itself where it was trained so; it ranks answers and pays."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from moved_policy import answers, moved
from ranking import SAMPLING, Ranking, reader
from tiny_base import save_base

import tacit.policies.best_of_n as module
from tacit.embedders import Embedder, HashEmbedder, resolve_embedder
from tacit.engines import Answer, Base, TransformersEngine, load_base
from tacit.errors import ChoiceError, EmbeddingError, StateMismatchError
from tacit.policies import personal_reward, read_with_base
from tacit.rewards import RewardModel
from tacit.steering import SteerablePolicy
from tacit.users import Users

ITEMS = [("What is it?", "a cat"), ("Say a word", "x"), ("Q", "many words, one after another"), ("Q", "no")]
Z = torch.tensor([[1.0, -2.0, 0.5, 1.5]])


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
    found = read_with_base(reward, base)
    assert np.array_equal(found.embed(ITEMS), expected)
    assert (found.fingerprint, found.spec, found.dim) == (own.fingerprint, own.spec, own.dim)


def test_no_policy_on_the_base_changes_what_is_read(own: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither attached, nor while it steers, nor when the embedder is made meanwhile; and steering goes on after."""
    reward, base, expected = reader(own), load_base(own.name), own.embed(ITEMS)
    no_second_model(monkeypatch)
    before = read_with_base(reward, base)
    engine, other = (TransformersEngine(base, moved(SteerablePolicy.new(base, reward), seed=seed)) for seed in (3, 4))
    steered = engine.log_probs(ITEMS, Z)
    assert (steered - engine.log_probs(ITEMS, None)).abs().min() > 0.01
    assert np.array_equal(before.embed(ITEMS), expected)
    with engine.steered(Z), other.steered(-Z):
        assert np.array_equal(before.embed(ITEMS), expected)
        assert np.array_equal(read_with_base(reward, base).embed(ITEMS[:3]), own.embed(ITEMS[:3]))
        with engine.steered(Z):
            assert np.array_equal(before.embed(ITEMS), expected)
    assert torch.equal(engine.log_probs(ITEMS, Z), steered)


def test_the_window_is_the_reward_models(base_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = resolve_embedder(str(base_folder), max_length=16, pooling="mean")
    expected = own.embed(ITEMS)
    reward, base = reader(own), load_base(str(base_folder))
    no_second_model(monkeypatch)
    assert np.array_equal(read_with_base(reward, base).embed(ITEMS), expected)


def test_the_base_may_be_named_by_another_path(
    base_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = resolve_embedder(str(base_folder))
    (tmp_path / "link").symlink_to(base_folder)
    monkeypatch.chdir(tmp_path)
    base = load_base("link")
    no_second_model(monkeypatch)
    assert np.array_equal(read_with_base(reader(own), base).embed(ITEMS), own.embed(ITEMS))


@pytest.mark.parametrize("kind", ["hash", "another base"])
def test_another_embedder_is_loaded_beside_the_base(base: Base, tmp_path: Path, kind: str) -> None:
    own = HashEmbedder() if kind == "hash" else resolve_embedder(str(save_base(tmp_path / "other", seed=9)))
    found = read_with_base(reader(own), base)
    assert found.fingerprint == own.fingerprint
    assert np.array_equal(found.embed(ITEMS), own.embed(ITEMS))


def test_a_base_that_has_changed_under_its_name_is_refused(tmp_path: Path) -> None:
    """Its vectors are not those that the reward model knows."""
    reward = reader(resolve_embedder(str(save_base(tmp_path / "base", seed=1))))
    base = load_base(str(save_base(tmp_path / "base", seed=2)))
    with pytest.raises(StateMismatchError, match="is not the one this model was trained with"):
        read_with_base(reward, base)


def test_a_model_of_bare_vectors_cannot_read(base: Base, reward: RewardModel) -> None:
    with pytest.raises(EmbeddingError, match="trained on bare vectors"):
        read_with_base(reward, base)


# -- the best of several -----------------------------------------------------------------------------------------------


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
    return personal_reward(Users(ranking.reward, ranking.users, ["ann", "7"]))


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
        ({"user_id": ["ann", "bob"]}, "no user 'bob' among 2"),
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
    read_with_base(reader(resolve_embedder(str(base_folder))), base)
    read_with_base(reader(HashEmbedder()), base)
    said = [record.getMessage() for record in caplog.records]
    assert "one model in memory" in said[0]
    assert "loaded beside the base" in said[1]
