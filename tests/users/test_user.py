"""Users inferred and answers ranked in Python, on models that were never trained: what holds for any weights."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet

from tacit.choices import Choice, ChoiceTable, read_choices
from tacit.embedders import HashEmbedder, item_vectors
from tacit.errors import ChoiceError, ConfigError, EmbeddingError, ModelFormatError, StateMismatchError
from tacit.rewards import RewardConfig, RewardModel
from tacit.rewards.embedder_reference import EmbedderReference
from tacit.rewards.network import RewardNetwork
from tacit.users import User, Users, read_profile


def untrained(**config: object) -> RewardModel:
    embedder = HashEmbedder(64)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = RewardNetwork(64, RewardConfig.model_validate({"latent": 3, "head": {"hidden": (8,)}} | config))
    return RewardModel(network.eval(), embedder=EmbedderReference.of(embedder))


def table(*users: str) -> ChoiceTable:
    return ChoiceTable.from_choices(
        Choice.pair(user, f"question {n}", f"answer {n} of {user}", "no answer") for user in users for n in range(3)
    )


def stranger_choices(count: int) -> ChoiceTable:
    return ChoiceTable.from_choices(Choice.pair("ann", f"q {n}", f"long answer {n}", f"no {n}") for n in range(count))


def test_no_choice_of_others_counts() -> None:
    model = untrained()
    alone, among = model.user(table("ann")), model.user(table("bob", "ann", "eve"), user="ann")
    assert among.id == alone.id == "ann"
    assert among.choices == alone.choices == 3
    assert torch.equal(among.state.rows, alone.state.rows)
    assert among.state.keys == alone.state.keys


def test_rows_are_taken_in_any_form_and_order() -> None:
    model = untrained()
    rows = [{"prompt": f"q{n}", "chosen": f"a{n}", "rejected": "b"} for n in range(4)]
    whole = model.user([row | {"user_id": "ann"} for row in rows])
    piecewise = model.user()
    for row in reversed(rows):
        piecewise.add(row)
    assert torch.allclose(whole.posterior.mean, piecewise.posterior.mean, atol=1e-6)
    assert whole.choices == piecewise.choices == 4
    frame = model.user(pd.DataFrame(rows).assign(user_id="ann"))
    assert torch.equal(frame.state.rows, whole.state.rows)


def test_adding_and_forgetting_restores_exactly() -> None:
    user = untrained().user(table("ann"))
    before = user.state
    row = {"prompt": "Tea?", "chosen": "Yes.", "rejected": "No."}
    user.add(row)
    user.add(row)
    assert (user.choices, torch.equal(user.posterior.mean, user.model.posterior(before).mean)) == (5, False)
    user.forget([row, row])
    assert user.choices == 3
    assert torch.allclose(user.state.rows, before.rows, atol=1e-9)
    with pytest.raises(StateMismatchError, match="is not in this state"):
        user.forget(row)


def test_what_moved_is_among_the_users_own_items() -> None:
    user = untrained().user(table("ann"))
    moved = user.explain(table("ann"))
    assert {each.answer for each in moved} == {f"answer {n} of ann" for n in range(3)} | {"no answer"}
    assert len(moved) == 6
    assert sum(each.shift for each in moved) == pytest.approx(0, abs=1e-5)
    pairs = [(moved[0].prompt, moved[0].answer), (moved[1].prompt, moved[1].answer)]
    assert {each.answer for each in user.explain(pairs)} == {moved[0].answer, moved[1].answer}


def test_doubt_and_what_was_learnt_are_reported_where_there_are_any() -> None:
    for model in (untrained(), untrained(encoder="additive")):
        user = model.user(table("ann"))
        assert user.doubt is not None
        assert 0 < user.doubt < 1
        assert user.information is not None
        assert user.information > 0
    user = untrained(encoder={"components": 3}).user(table("ann"))  # a mixture has no divergence in closed form
    assert user.doubt is not None
    assert user.information is None
    assert (untrained(encoder={"kind": "additive", "variational": False}).user(table("ann")).doubt) is None


def test_draws_are_joint_and_follow_the_posterior() -> None:
    for components in (1, 3):
        user = untrained(encoder={"components": components}).user(table("ann"))
        z = user.draws(4000, seed=1)
        assert torch.equal(z, user.draws(4000, seed=1))
        assert torch.allclose(z.mean(0), user.posterior.mean[0], atol=0.1)
        factors, weight = user.posterior.factors[0], user.posterior.log_weight[0].exp()  # type: ignore[attr-defined]
        centred = user.posterior.means[0] - user.posterior.mean  # type: ignore[attr-defined]
        spread = factors @ factors.mT + centred.unsqueeze(-1) * centred.unsqueeze(-2)
        assert torch.allclose(z.T.cov(), (weight[:, None, None] * spread).sum(0), atol=0.12)


def test_answers_are_ranked_within_their_prompt() -> None:
    user = untrained().user(table("ann"))
    answers = user.score("b", ["one", "two", "three"])
    assert [each.rank for each in answers] == [1, 2, 3]
    assert sorted(each.population_rank for each in answers) == [1, 2, 3]
    assert [each.score for each in answers] == sorted((each.score for each in answers), reverse=True)
    p = user.prefer("b", answers[0].text, answers[-1].text)
    assert 0.5 < p < 1
    assert user.prefer("b", answers[-1].text, answers[0].text) == pytest.approx(1 - p, abs=1e-6)


FORMS = [
    ("Tea?", "Yes."),
    ([{"role": "user", "content": "Tea?"}], {"role": "assistant", "content": "Yes."}),
    ([{"role": "user", "content": [{"type": "text", "text": "Tea?"}]}], [{"role": "assistant", "content": "Yes."}]),
]
LONG = [
    {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Tea?"},
    {"role": "assistant", "content": "Yes."}, {"role": "user", "content": "Milk?"},
]  # fmt: skip


def test_every_form_of_a_conversation_gives_the_same_reward_as_its_item_in_a_table() -> None:
    model = untrained()
    user = model.user(stranger_choices(3))
    for forms, row in (
        (FORMS, {"prompt": "Tea?", "chosen": "Yes.", "rejected": "No."}),
        ([(LONG, "Yes.")], {"chosen": [*LONG, {"role": "assistant", "content": "Yes."}],
                            "rejected": [*LONG, {"role": "assistant", "content": "No."}]}),
    ):  # fmt: skip
        trained_on = read_choices([row | {"user_id": "u"}])
        vectors = item_vectors(trained_on, HashEmbedder(64))
        expected = float(model.score(user.state, vectors)[0, trained_on.items[0, 0]])
        for messages, answer in forms:
            found = {each.text: each.score for each in user.score(messages, [answer, "No."])}
            assert found["Yes."] == pytest.approx(expected, abs=1e-6)


def test_somebody_without_choices_is_the_population() -> None:
    for each in untrained().user().score("a", ["x", "y"]):
        assert (each.score, each.rank) == (each.population_score, each.population_rank)


def test_the_embedder_is_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []
    resolve = EmbedderReference.resolve
    monkeypatch.setattr(EmbedderReference, "resolve", lambda self, dim: loaded.append(1) or resolve(self, dim))
    user = untrained().user(table("ann"))
    for _ in range(3):
        user.score("a", ["x", "y"])
        user.add({"prompt": "Tea?", "chosen": "Yes.", "rejected": "No."})
    assert len(loaded) == 1


def test_profiles_survive_the_file(tmp_path: Path) -> None:
    model = untrained()
    user = model.user(table("ann"))
    user.save(tmp_path / "ann.json")
    again = model.load_user(tmp_path / "ann.json")
    assert (again.id, again.choices) == ("ann", 3)
    assert torch.equal(again.state.rows, user.state.rows)
    again.add({"prompt": "Tea?", "chosen": "Yes.", "rejected": "No."})
    with pytest.raises(StateMismatchError, match="not by this one"):
        untrained(latent=4).load_user(tmp_path / "ann.json")


def test_what_is_no_single_user_or_no_item_is_refused() -> None:
    model = untrained()
    with pytest.raises(ConfigError, match="found 2"):
        User(model, model.prior(2))
    with pytest.raises(ChoiceError, match="no items"):
        model.user().rank({})
    with pytest.raises(ChoiceError, match=r"2 users \('ann', 'bob'\); name one with user='ID'"):
        model.user(table("ann", "bob"))
    with pytest.raises(ChoiceError, match="no choice of user 'eve'; its users: 'ann', 'bob'"):
        model.user(table("ann", "bob"), user="eve")
    with pytest.raises(ChoiceError, match="prompt is blank"):
        model.user().score(" ", ["a"])
    with pytest.raises(EmbeddingError, match="trained on bare vectors"):
        RewardModel(model.network).user().score("a", ["x"])


def test_a_profile_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_bytes(b"\xff")
    with pytest.raises(ModelFormatError, match=r"p\.json: not a text file"):
        read_profile(tmp_path / "p.json")


# many at once


def test_many_users_are_what_each_is_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tacit.users.users._CHOICES_AT_ONCE", 8)
    rows = [Choice.pair(f"u{i}", f"q{n}", f"a{n}", f"b{i}") for i in range(7) for n in range(1 + i % 3)]
    for model in (untrained(), untrained(encoder="additive")):
        users = model.users(ChoiceTable.from_choices(rows))
        path = tmp_path / "all.parquet"
        users.save(path)
        for some in (users, Users.load(model, path)):
            assert some.ids == tuple(f"u{i}" for i in range(7))
            assert [one.choices for one in some] == [1 + i % 3 for i in range(7)]
            for one in some:
                alone = model.user(ChoiceTable.from_choices(rows), user=one.id)
                assert torch.allclose(one.posterior.mean, alone.posterior.mean, atol=1e-6)
            scores = some.score("q0", ["a0", "b1"])
            assert scores[3].tolist() == pytest.approx(
                [{a.text: a.score for a in some["u3"].score("q0", ["a0", "b1"])}[text] for text in ("a0", "b1")],
                abs=1e-5,
            )
        assert model.load_user(path, "u5").choices == 3
        with pytest.raises(ChoiceError, match="no user 'nobody' among its 7"):
            model.load_user(path, "nobody")
        with pytest.raises(ChoiceError, match="holds 7 users"):
            model.load_user(path)
        with pytest.raises(ChoiceError, match="no user 'nobody' among 7"):
            users["nobody"]


@pytest.mark.parametrize("damage", [lambda b: b[:-20], lambda b: b[:40], lambda b: b""])
def test_damaged_files_of_profiles_are_refused(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "all.parquet"
    untrained().users(table("ann", "bob")).save(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ModelFormatError, match=r"all\.parquet: no readable file of profiles"):
        read_profile(path, "ann")
    parquet.write_table(pa.table({"user_id": ["ann"]}), path)
    with pytest.raises(ModelFormatError, match="no readable file of profiles"):
        read_profile(path, "ann")
