"""`RewardModel` beyond the common contract: exact states, fingerprints, explanations, and another process."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_reward_model_conformance import small_model

from tacit.encoders import UserStates
from tacit.episodes import ChoiceBatch
from tacit.errors import ChoiceError, ModelFormatError, StateMismatchError
from tacit.rewards import EmbedderReference, PreferenceModel, RewardModel
from tacit.rewards.seen import Seen
from tacit.testing import random_choices

DIM = 4


def choices(users: int = 2, count: int = 5, *, seed: int = 0, start: float = 0.0, slots: int = 2) -> ChoiceBatch:
    """Keyed, timed, weighted choices."""
    batch = random_choices(users, count, DIM, slots=slots, seed=seed, dtype=torch.float32)
    keys = tuple(tuple(f"{seed:08x}{u:04x}{c:04x}" for c in range(count)) for u in range(users))
    time = start + torch.arange(float(count), dtype=torch.float64).expand(users, count)
    weight = 0.5 + torch.rand(users, count, generator=torch.Generator().manual_seed(seed))
    return replace(batch, timestamp=time, keys=keys, weight=weight)


ENCODERS = {
    "default": {},
    "additive": {"encoder": "additive"},
    "network": {"encoder": {"kind": "additive", "evidence": "network"}},
    "attention": {"encoder": "attention"},
}


@pytest.mark.parametrize("config", ENCODERS.values(), ids=ENCODERS)
@settings(max_examples=15)
@given(
    order=st.permutations(range(4)), gone=st.sets(st.integers(0, 3), max_size=3), half_life=st.sampled_from([None, 3.0])
)
def test_states_equal_a_rebuild_from_the_choices(
    config: dict, order: list[int], gone: set[int], half_life: float | None
) -> None:
    """Batches in any order, some forgotten again: to 1e-9, with rankings and ageing."""
    model = small_model(DIM, 0, half_life=half_life, **config)
    batches = [choices(count=i + 1, seed=i, start=3.0 * i, slots=3) for i in range(4)]
    state = model.prior(2)
    for i in order:
        state = model.update(state, batches[i])
    for i in gone:
        state = model.forget(state, batches[i])
    rebuilt = model.prior(2)
    for i in range(4):
        if i not in gone:
            rebuilt = model.update(rebuilt, batches[i])
    rebuilt = rebuilt.age(state.clock)
    mine, fresh = (model._exact["encoder"].posterior(s.rows, s.weight) for s in (state, rebuilt))
    torch.testing.assert_close(mine.mean, fresh.mean, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(mine.scale, fresh.scale, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("config", ENCODERS.values(), ids=ENCODERS)
def test_many_users_at_once_are_each_alone_bit_for_bit(config: dict) -> None:
    """More choices than one forward pass takes."""
    model = small_model(DIM, 0, **config)
    batch = choices(users=300, count=6)
    together = model.infer(batch)
    for user in (0, 137, 299):
        alone = model.infer(batch.of_users(torch.tensor([user])))
        torch.testing.assert_close(alone.rows, together.rows[[user]], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("config", "below"), [({"encoder": "additive"}, 1000), ({"members": 1}, 5000)], ids=str)
def test_how_long_a_profile_is(config: dict, below: int) -> None:
    """A sum of any number of choices is under a kilobyte; kept choices are latent + 1 numbers each."""
    model = small_model(DIM, 0, latent=16, **config)
    state = model.infer(choices(users=1, count=20, start=1.7e9))
    text = state.to_json()
    assert len(text.encode()) < below
    back = UserStates.from_json(text)
    items = torch.randn(5, DIM, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model.score(back, items), model.score(state, items))


def test_item_vectors_of_another_size_are_refused() -> None:
    model = small_model(DIM, 0)
    state = model.prior()
    with pytest.raises(ChoiceError, match="size 7, this model was trained on size 4"):
        model.infer(random_choices(1, 2, 7, dtype=torch.float32))
    for use in (model.score, model.explain, lambda s, x: model.prefer(s, x, x)):
        with pytest.raises(ChoiceError, match="size 7"):
            use(state, torch.zeros(3, 7))


@pytest.mark.parametrize("config", ENCODERS.values(), ids=ENCODERS)
def test_what_makes_a_state_foreign(config: dict) -> None:
    """Other weights, other standardisation, another embedder; another head only where evidence comes from it."""
    model = small_model(DIM, 0, **config)
    state = model.infer(choices())
    other_scale, other_head = (small_model(DIM, 0, **config) for _ in range(2))
    with torch.no_grad():
        other_scale.network.standardizer.mean += 1
        for parameter in other_head.network.head.parameters():
            parameter += 1
    embedder = EmbedderReference({"name": "hash"}, "abc")
    foreign = [
        small_model(DIM, 1, **config),
        RewardModel(other_scale.network),
        RewardModel(model.network, embedder=embedder),
        RewardModel(model.network, embedder=replace(embedder, fingerprint="abd")),
    ]
    prints = {m.fingerprint for m in foreign} | {model.fingerprint}
    assert len(prints) == 5
    for stranger in foreign:
        with pytest.raises(StateMismatchError, match="infer it again"):
            stranger.posterior(state)
    same = RewardModel(other_head.network).fingerprint == model.fingerprint
    assert same != model.network.config.encoder.settings.reads_reward


def test_an_altered_state_with_the_right_name_is_refused() -> None:
    """A profile whose numbers were cut, or that became one of the other kind, but whose fingerprint was kept."""
    model = small_model(DIM, 0, encoder="additive")
    raw = json.loads(model.infer(choices(users=1)).to_json())
    raw["shape"], raw["evidence"] = [1, 2], UserStates.prior(1, 2, additive=True, fingerprint="").to_json()
    raw["evidence"] = json.loads(raw["evidence"])["evidence"]
    with pytest.raises(StateMismatchError, match="size 2"):
        model.score(UserStates.from_json(json.dumps(raw)), torch.zeros(1, DIM))
    rows = json.loads(model.infer(choices(users=1)).to_json()) | {"kind": "rows"}
    with pytest.raises(StateMismatchError):
        model.score(UserStates.from_json(json.dumps(rows)), torch.zeros(1, DIM))
    model = small_model(DIM, 0)
    raw = json.loads(model.infer(choices(users=1)).to_json())
    total = json.loads(UserStates.prior(1, 4, additive=True, fingerprint="").to_json())
    for name in ("kind", "shape", "evidence", "weight"):
        raw[name] = total[name]
    with pytest.raises(StateMismatchError):
        model.score(UserStates.from_json(json.dumps(raw)), torch.zeros(1, DIM))


@pytest.mark.parametrize("config", ENCODERS.values(), ids=ENCODERS)
def test_a_half_life_fades_old_choices(config: dict) -> None:
    model = small_model(DIM, 0, half_life=10.0, **config)
    state = model.infer(choices())
    later, prior = state.age(1e6), model.prior(2)
    items = torch.randn(6, DIM, generator=torch.Generator().manual_seed(0))
    assert (model.score(state, items) - model.score(prior, items)).abs().max() > 0.01
    torch.testing.assert_close(model.score(later, items), model.score(prior, items))


def test_explained_shifts_are_moves_of_the_centred_reward() -> None:
    model = small_model(DIM, 0)
    state, items = model.infer(choices()), torch.randn(6, DIM, generator=torch.Generator().manual_seed(1))
    moved = model.score(state, items) - model.score(model.prior(2), items)
    moved = moved - moved.mean(1, keepdim=True)
    for user, report in enumerate(model.explain(state, items)):
        for row in report["items"]:
            assert row["shift"] == pytest.approx(moved[user, row["index"]].item(), abs=1e-5)


@pytest.mark.parametrize("encoder", ["additive", "laplace"])
def test_doubt_of_an_explanation_is_the_posterior_spread(encoder: str) -> None:
    """Against the exact spread of a bilinear head; 64 draws are good to some 10 %."""
    model = small_model(DIM, 0, encoder=encoder)
    state, items = model.infer(choices()), torch.randn(6, DIM, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        f, _ = model.network.head.features(model.network.standardizer(items))
        ((_, _, variance),) = model.posterior(state).along(f - f.mean(0))
    for user, report in enumerate(model.explain(state, items)):
        for row in report["items"]:
            assert row["doubt"] == pytest.approx(variance[user, row["index"]].sqrt().item(), rel=0.4)


def test_a_protocol_model_need_not_inherit() -> None:
    assert isinstance(small_model(DIM, 0), PreferenceModel)
    assert PreferenceModel not in RewardModel.__mro__


# -- files -------------------------------------------------------------------------------------------------------------

READER = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_reward_model import numbers
from tacit.encoders import UserStates
from tacit.rewards import RewardModel

for folder in map(Path, sys.argv[2:]):
    known = UserStates.from_json((folder.parent / f"{folder.name}.json").read_text())
    print(json.dumps(numbers(RewardModel.load(folder), known)))
"""


def numbers(model: RewardModel, known: UserStates) -> list[list]:
    """What a model makes of fixed items, for users inferred now and a user inferred before."""
    items = torch.randn(7, DIM, generator=torch.Generator().manual_seed(3))
    inferred = model.infer(random_choices(2, 5, DIM, seed=8, dtype=torch.float32))
    return [
        x.tolist() for s in (inferred, known) for x in (model.score(s, items), model.prefer(s, items, items.flip(0)))
    ]


def test_a_new_process_gives_the_same_numbers(tmp_path: Path) -> None:
    models = {"bilinear": small_model(DIM, 0, ties=True), "mlp": small_model(DIM, 1, head="mlp", encoder="attention")}
    expected = []
    for name, model in models.items():
        model.save(tmp_path / name)
        known = model.infer(choices(users=1))
        (tmp_path / f"{name}.json").write_text(known.to_json())
        expected.append(numbers(model, known))
    command = [sys.executable, "-c", READER, str(Path(__file__).parent), *(str(tmp_path / name) for name in models)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert [json.loads(line) for line in done.stdout.splitlines()] == expected


def test_everything_a_model_remembers_survives(tmp_path: Path) -> None:
    seen = Seen.of(["ann", "bob"], ["why?"], salt="salt")
    model = RewardModel(
        small_model(DIM, 0).network,
        0.7,
        EmbedderReference({"name": "hash", "dim": 4}, "f00"),
        seen,
        {"steps": 3, "a": [1.5]},
    )
    model.save(tmp_path / "m")
    again = RewardModel.load(tmp_path / "m")
    assert (again.temperature, again.embedder, again.notes) == (0.7, model.embedder, model.notes)
    assert again.fingerprint == model.fingerprint
    assert again.seen.knows_users(["bob", "eve"]).tolist() == [True, False]
    assert not again.network.training
    assert {file.name for file in (tmp_path / "m").iterdir()} == {"config.json", "model.safetensors", "README.md"}
    card = (tmp_path / "m" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: tacit\n")
    assert "| steps | 3 |" in card
    assert "2 users and 1 prompts" in card


@pytest.mark.parametrize("name", ["nowhere", "/no/such/folder", "../x", "a/b/c", "no-such-owner/no-such-model"])
def test_a_missing_folder_is_refused_in_one_line(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it could be a repository on a hub that cannot be reached."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(ModelFormatError, match="no such folder") as caught:
        RewardModel.load(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0}, {"temperature": -1}, {"temperature": float("nan")}, {"temperature": float("inf")},
        {"temperature": "warm"}, {"dim": 0}, {"dim": 5}, {"dim": "4"}, {"reward": None}, {"reward": {"latent": 0}},
        {"reward": {"unknown": 1}}, {"embedder": {"spec": "x"}}, {"notes": None}, {"version": "1"}, {"kind": "btl"},
    ],
    ids=str,
)  # fmt: skip
def test_altered_settings_are_refused(tmp_path: Path, change: dict) -> None:
    small_model(DIM, 0).save(tmp_path / "m")
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    if isinstance(change.get("reward"), dict):
        change = {"reward": config["reward"] | change["reward"]}
    (tmp_path / "m" / "config.json").write_text(json.dumps(config | change))
    if change == {"dim": "4"}:  # a number in quotes is still that number
        RewardModel.load(tmp_path / "m")
        return
    with pytest.raises(ModelFormatError) as caught:
        RewardModel.load(tmp_path / "m")
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "m") in str(caught.value)


def test_pushing_uploads_the_saved_files_only(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    calls: dict[str, dict] = {}

    class Api:
        def __init__(self, token: str | None = None) -> None:
            assert token == "secret"

        def create_repo(self, name: str, **settings: object) -> str:
            calls["create"] = {"name": name, **settings}
            return f"https://hub/{name}"

        def upload_folder(self, folder_path: str, **settings: object) -> None:
            calls["upload"] = settings | {"files": sorted(file.name for file in Path(folder_path).iterdir())}

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    assert small_model(DIM, 0).push_to_hub("me/model", token="secret") == "https://hub/me/model"
    assert calls["create"] == {"name": "me/model", "private": True, "exist_ok": True}
    assert calls["upload"]["repo_id"] == "me/model"
    assert calls["upload"]["files"] == sorted(calls["upload"]["allow_patterns"])


# -- seen --------------------------------------------------------------------------------------------------------------


def test_seen_knows_names_but_does_not_hold_them() -> None:
    seen = Seen.of(["ann", "bob", "ann"], ["q1", "q2"])
    assert seen.knows_users(["bob", "eve", "ann"]).tolist() == [True, False, True]
    assert seen.knows_prompts(["q3", "q2"]).tolist() == [False, True]
    other = Seen.of(["ann", "bob"], ["q1"])
    assert seen.salt != other.salt
    assert not torch.isin(seen.users, other.users).any()


def test_nothing_was_seen() -> None:
    assert Seen.nothing().knows_users(["ann"]).tolist() == [False]
    assert Seen.nothing().knows_users([]).tolist() == []
    assert Seen.of([], [], salt="s").knows_prompts(["q"]).tolist() == [False]
