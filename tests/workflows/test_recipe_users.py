"""Users inferred and answers ranked in Python, on models that were never trained: what holds for any weights."""

import pytest
import torch

from tacit.choices import Choice, ChoiceTable
from tacit.embedders import HashEmbedder
from tacit.errors import ChoiceError, ModelFormatError, StateMismatchError
from tacit.rewards import RewardConfig, RewardModel
from tacit.rewards.network import RewardNetwork
from tacit.workflows import infer_user, load_profile, score_items
from tacit.workflows.items import reference


def untrained(**config: object) -> RewardModel:
    embedder = HashEmbedder(64)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = RewardNetwork(64, RewardConfig(latent=3, encoder_hidden=(8,), head_hidden=(8,), **config))  # type: ignore[arg-type]
    return RewardModel(network.eval(), embedder=reference(embedder))


def table(*users: str) -> ChoiceTable:
    return ChoiceTable.from_choices(
        Choice.pair(user, f"question {n}", f"answer {n} of {user}", "no answer") for user in users for n in range(3)
    )


def test_no_choice_of_others_counts() -> None:
    model = untrained()
    alone, among = infer_user(model, table("ann")), infer_user(model, table("bob", "ann", "eve"), "ann")
    assert among.user_id == alone.user_id == "ann"
    assert among.choices == alone.choices == 3
    assert torch.equal(among.state.rows, alone.state.rows)
    assert among.state.keys == alone.state.keys


def test_what_moved_is_among_the_users_own_items() -> None:
    moved = infer_user(untrained(), table("bob", "ann"), "ann").moved
    assert {item["response"] for item in moved} == {f"answer {n} of ann" for n in range(3)} | {"no answer"}
    assert len(moved) == 6
    assert sum(item["shift"] for item in moved) == pytest.approx(0, abs=1e-5)


def test_doubt_and_what_was_learnt_are_reported_where_there_are_any() -> None:
    for model in (untrained(), untrained(encoder="additive")):
        user = infer_user(model, table("ann"))
        assert user.doubt is not None
        assert 0 < user.doubt < 1
        assert user.information is not None
        assert user.information > 0
    user = infer_user(untrained(components=3), table("ann"))  # a mixture has no divergence in closed form
    assert user.doubt is not None
    assert user.information is None


def test_a_deterministic_model_reports_no_doubt() -> None:
    user = infer_user(untrained(encoder="additive", variational=False), table("ann"))
    assert (user.doubt, user.information) == (None, None)
    assert user.moved[0]["doubt"] is None


def test_a_profile_survives_the_file(tmp_path: object) -> None:
    user = infer_user(untrained(), table("ann"))
    path = f"{tmp_path}/p.json"
    user.save(path)
    assert torch.equal(load_profile(path).rows, user.state.rows)


def test_items_are_ranked_within_their_prompts_in_the_prompts_order() -> None:
    model = untrained()
    items = [("b", "one"), ("a", "x"), ("b", "two"), ("b", "one"), ("a", "y")]
    ranked = score_items(model, infer_user(model, table("ann")).state, items)
    assert [item.prompt for item in ranked] == ["b", "b", "b", "a", "a"]
    assert [item.rank for item in ranked] == [1, 2, 3, 1, 2]
    assert sorted(item.population_rank for item in ranked) == [1, 1, 2, 2, 3]
    for prompt in "ab":
        scores = [item.score for item in ranked if item.prompt == prompt]
        assert scores == sorted(scores, reverse=True)
    assert sorted((item.prompt, item.response) for item in ranked) == sorted(items)


def test_somebody_unknown_is_the_population() -> None:
    model = untrained()
    for item in score_items(model, model.prior(), [("a", "x"), ("a", "y")]):
        assert (item.score, item.rank) == (item.population_score, item.population_rank)


def test_what_is_no_single_user_or_no_item_is_refused() -> None:
    model = untrained()
    with pytest.raises(StateMismatchError, match="found 2"):
        score_items(model, model.prior(2), [("a", "x")])
    with pytest.raises(ChoiceError, match="no items"):
        score_items(model, model.prior(), [])
    with pytest.raises(StateMismatchError, match="not by this one"):
        score_items(untrained(encoder="additive"), model.prior(), [("a", "x")])
    with pytest.raises(ChoiceError, match=r"2 users \('ann', 'bob'\); name one"):
        infer_user(model, table("ann", "bob"))
    with pytest.raises(ChoiceError, match="no choice of user 'eve'; its users: 'ann', 'bob'"):
        infer_user(model, table("ann", "bob"), "eve")


def test_a_profile_that_is_no_text_is_named(tmp_path: object) -> None:
    path = f"{tmp_path}/p.json"
    with open(path, "wb") as file:  # noqa: PTH123
        file.write(b"\xff")
    with pytest.raises(ModelFormatError, match=r"p\.json: not a text file"):
        load_profile(path)
