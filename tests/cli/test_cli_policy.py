"""train-reward on a language model's own states, infer, train-policy, generate and export, as a user gives them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from bad_input import Case, cases, file, refuses
from cli_world import TINY, Run, small_rows, write_rows
from policy_world import FILM, SHORT
from safetensors.torch import load_file
from tiny_base import save_base

import tacit.policies.trainer
from tacit.cli import main
from tacit.engines import Answer, Sampling, TransformersEngine, load_base, open_engine, requests
from tacit.policies import best_of, read_with_base
from tacit.steering import SteerablePolicy
from tacit.users import read_profile


def ran(*command: object) -> None:
    assert main([str(word) for word in command]) == 0


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    """llm/ (a base), other-llm/, data.jsonl, model/ (a reward model on llm's states), short.json and long.json
    (profiles of users who want opposite things), policy/, film/, and stranger.json (another reward model's profile).
    """
    folder = tmp_path_factory.mktemp("story")
    rows = small_rows()
    data = write_rows(folder / "data.jsonl", rows)
    save_base(folder / "llm")
    save_base(folder / "other-llm", seed=1)
    shutil.copy(base / "profile.json", folder / "stranger.json")
    ran("train-reward", data, "--out", folder / "model", "--embedder", folder / "llm", *TINY)
    for name, user in (("short", "u1"), ("long", "u2")):
        ran("infer", folder / "model", data, "--user", user, "--out", folder / f"{name}.json")
    train = ("train-policy", data, "--base", folder / "llm", "--reward", folder / "model", *SHORT)
    ran(*train, "--out", folder / "policy")
    ran(*train, "--out", folder / "film", *FILM)
    return folder


@pytest.fixture
def desk(tmp_path: Path, story: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one's own with copies of the small files; also the working directory."""
    for path in story.iterdir():
        if path.is_file():
            shutil.copy(path, tmp_path / path.name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def training(story: Path, *more: object) -> list[object]:
    return ["train-policy", "data.jsonl", "--base", story / "llm", "--reward", story / "model", *SHORT, *more]


# -- train-policy ------------------------------------------------------------------------------------------------------


def test_a_trained_policy_is_a_complete_folder(story: Path) -> None:
    files = {str(path.relative_to(story / "policy")) for path in (story / "policy").rglob("*") if path.is_file()}
    assert {"config.json", "model.safetensors", "metrics.jsonl", "reward/config.json"} <= files
    assert not [name for name in files if name.endswith((".bin", ".pt", ".pth"))]
    assert not list(story.glob("*.partial"))
    assert not list(story.glob(".*"))
    policy = SteerablePolicy.load(story / "policy")
    assert policy.notes["steps"] == 4
    assert Path(policy.base.name) == story / "llm"


def test_train_policy_reports_what_it_did(run: Run, desk: Path, story: Path) -> None:
    code, out, err = run(*training(story, "--out", "p", "--seed", "3", "--json"))
    assert code == 0, err
    assert err == ""
    result = json.loads(out)
    assert result["data"]["choices"] == len(small_rows())
    assert result["base"]["name"] == str(story / "llm")
    assert result["modulator"]["kind"] == "gated_lora"
    assert (result["steps"], result["best_step"] in (2, 4)) == (4, True)
    assert {"loss", "accuracy", "accuracy_k0", "accuracy_k1"} <= result["validation"].keys()
    assert SteerablePolicy.load(desk / "p").notes["training"]["seed"] == 3
    code, out, err = run(*training(story, "--out", "p", *FILM, "--overwrite"))
    assert code == 0, err
    assert "film of" in out
    assert "k = 0" in out
    assert "written: p" in out
    assert SteerablePolicy.load(desk / "p").config.modulator.kind == "film"


def test_train_policy_is_taught_by_the_reward_where_that_is_asked(run: Run, desk: Path, story: Path) -> None:
    found = {}
    for teacher in ("choices", "reward"):
        code, _, err = run(*training(story, "--out", teacher, "--set", f"training.teacher={teacher}"))
        assert code == 0, err
        policy = SteerablePolicy.load(desk / teacher)
        assert policy.notes["training"]["teacher"] == teacher
        found[teacher] = torch.cat([weight.flatten() for weight in policy.modulator.parameters()])
    assert not torch.equal(found["choices"], found["reward"])


def test_the_base_writes_answers_for_the_reward_to_compare(
    run: Run, desk: Path, story: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more to each prompt of training, and none where that is asked."""
    asked: list[str] = []

    def draw(self: Any, requests: list[Any]) -> list[list[Answer]]:
        asked.extend(request.messages.text for request in requests)
        return [[Answer("Another answer.", True, 3)] * request.sampling.samples for request in requests]

    monkeypatch.setattr(TransformersEngine, "generate", draw)
    two = ("--set", "training.written=2")
    code, out, err = run(*training(story, "--out", "p", "--json", *two))
    assert code == 0, err
    assert json.loads(out)["answers_written"] == len(asked) == len(set(asked)) > 2
    assert set(asked) <= {row["prompt"] for row in small_rows()}
    code, out, err = run(*training(story, "--out", "q", *two))
    assert code == 0, err
    assert f"taught with {len(asked) // 2} answers that the base wrote" in " ".join(out.split())
    code, out, err = run(*training(story, "--out", "r", "--set", "training.written=0"))
    assert code == 0, err
    assert "base wrote" not in out
    weight = [load_file(desk / name / "model.safetensors") for name in ("p", "q", "r")]
    assert all(torch.equal(weight[0][name], weight[1][name]) for name in weight[0])
    assert not all(torch.equal(weight[0][name], weight[2][name]) for name in weight[0])


def test_rows_too_long_for_the_base_are_named_first_and_may_be_skipped(
    run: Run, desk: Path, story: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is embedded or trained; the run is then that of the other rows."""
    rows = small_rows()
    long = {"user_id": "u3", "prompt": "Question 2?", "chosen": "word " * 200, "rejected": "short"}
    write_rows(desk / "data.jsonl", [*rows[:7], long, *rows[7:]])
    embedded: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr("tacit.workflows.policy.item_vectors", lambda *_, **__: embedded.append(1))
        code, out, err = run(*training(story, "--out", "p"))
    assert (code, out, embedded) == (2, "", [])
    assert "data.jsonl: 1 of 85 rows is bad: row 8: a response of 1001 tokens does not fit into 96" in err
    assert "raise" not in err, "what the base takes cannot be raised"
    assert not (desk / "p").exists()
    assert not (desk / "p.partial").exists()
    code, out, err = run(*training(story, "--out", "p", "--skip-bad-rows", "--json"))
    assert code == 0, err
    result = json.loads(out)
    assert (result["data"]["choices"], result["data"]["skipped"]) == (84, 1)
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (desk / "p", story / "policy"))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_print_config_needs_no_data_and_is_read_back(run: Run, desk: Path) -> None:
    code, out, _ = run("train-policy", "--print-config", "--set", "policy.modulator.rank=3", "--seed", "7")
    assert code == 0
    found = json.loads(out)
    assert (found["policy"]["modulator"]["rank"], found["training"]["seed"]) == (3, 7)
    (desk / "c.json").write_text(out)
    assert run("train-policy", "--config", "c.json", "--print-config") == (0, out, "")


def interrupting(after: int) -> Callable[..., None]:
    real, written = tacit.policies.trainer.write_checkpoint, []

    def write(*arguments: Any) -> None:
        if len(written) == after:
            raise KeyboardInterrupt
        written.append(1)
        real(*arguments)

    return write


def test_an_interrupted_run_goes_on_to_the_same_weights(
    run: Run, desk: Path, story: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a kill left something half written beside what is whole."""
    with monkeypatch.context() as patch:
        patch.setattr("tacit.policies.trainer.write_checkpoint", interrupting(1))
        assert run(*training(story, "--out", "p"))[0] == 130
    assert not (desk / "p").exists()
    partial = desk / "p.partial"
    assert {path.name for path in partial.iterdir()} == {
        "checkpoint", "metrics.jsonl", "reference.safetensors", "written.json",
    }  # fmt: skip
    (partial / ".checkpoint.x1y2").mkdir()
    (partial / ".checkpoint.x1y2" / "trainer_state.json").write_text("{")
    (partial / ".reference.safetensors.x1y2").write_bytes(b"half")
    (partial / ".written.json.x1y2").write_bytes(b"half")
    assert run(*training(story, "--out", "p"))[0] == 0
    assert not partial.exists()
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (desk / "p", story / "policy"))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    steps = [json.loads(line)["step"] for line in (desk / "p" / "metrics.jsonl").read_text().splitlines()]
    assert steps == [2, 2, 4, 4]


# -- generate ----------------------------------------------------------------------------------------------------------

PROMPT = ("--prompt", "Question 1?", "--max-new-tokens", "12", "--json")


def said(run: Run, *more: object) -> list[str]:
    code, out, err = run("generate", *more, *PROMPT)
    assert code == 0, err
    (entry,) = json.loads(out)["answers"]
    assert entry["prompt"] == "Question 1?"
    return entry["responses"]


def live(story: Path, who: str | None, **more: Any) -> list[str]:
    policy = SteerablePolicy.load(story / "policy")
    user = policy.reward.prior() if who in ("prior", None) else read_profile(story / who)[1]
    sampling = Sampling(**{"max_new_tokens": 12, "temperature": 0.7} | more)
    with open_engine(policy) as engine:
        return written(engine, policy.latents(user) if who else None, sampling)


def written(engine: TransformersEngine, z: Any, sampling: Sampling | None = None) -> list[str]:
    sampling = sampling or Sampling(max_new_tokens=12, temperature=0.7)
    return [answer.text for answer in engine.generate(requests(["Question 1?"], z, sampling))[0]]


@pytest.mark.parametrize(
    ("asked", "who"), [([], "prior"), (["--profile", "short.json"], "short.json"), (["--unsteered"], None)], ids=str
)
def test_answers_are_the_policys_for_that_user(
    run: Run, desk: Path, story: Path, asked: list[str], who: str | None
) -> None:
    assert said(run, story / "policy", *asked) == live(story, who)
    assert said(run, story / "policy", *asked, "--seed", "5") == live(story, who, seed=5)
    assert said(run, story / "policy", *asked, "--temperature", "0") == live(story, who, temperature=0)


def test_without_steering_it_is_the_base(run: Run, desk: Path, story: Path) -> None:
    expected = written(TransformersEngine(load_base(str(story / "llm"))), None)
    assert said(run, story / "policy", "--unsteered") == expected


def test_several_samples_are_several_answers(run: Run, desk: Path, story: Path) -> None:
    found = said(run, story / "policy", "--profile", "long.json", "-n", "3")
    assert len(found) == 3
    assert len(set(found)) > 1
    assert found == live(story, "long.json", samples=3)


def test_a_mix_leads_from_one_user_to_the_other(run: Run, desk: Path, story: Path) -> None:
    toward = [story / "policy", "--profile", "short.json", "--toward", "long.json"]
    assert said(run, *toward, "--mix", "0") == live(story, "short.json")
    assert said(run, *toward, "--mix", "1") == live(story, "long.json")
    policy = SteerablePolicy.load(story / "policy")
    z = policy.mix(read_profile("short.json")[1], read_profile("long.json")[1], 0.25)
    expected = written(open_engine(policy), z)
    assert said(run, *toward, "--mix", "0.25") == expected
    assert said(run, story / "policy", "--toward", "long.json", "--mix", "1") == live(story, "long.json")


def test_what_people_read_and_what_is_written(run: Run, desk: Path, story: Path) -> None:
    command = ("generate", story / "policy", "--max-new-tokens", "6", "--out", "a.json")
    code, out, err = run(*command, "--prompt", "One?", "--prompt", "[bold]Two?", "-n", "2")
    assert code == 0, err
    assert "> One?" in out
    assert "> [bold]Two?" in out
    assert "written: a.json" in out
    first = json.loads((desk / "a.json").read_text())["answers"]
    assert [entry["prompt"] for entry in first] == ["One?", "[bold]Two?"]
    assert [len(entry["responses"]) for entry in first] == [2, 2]
    code, out, _ = run(*command, "--prompt", "One?", "--overwrite")
    assert code == 0
    assert out.splitlines()[-1] == "written: a.json"
    assert ">" not in out.splitlines()[0]
    assert len(json.loads((desk / "a.json").read_text())["answers"]) == 1


MESSAGES = [
    {"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "Name a pet."}]},
    {"role": "assistant", "content": "A cat."}, {"role": "user", "content": "A smaller one."},
]  # fmt: skip
ASKED = ("--max-new-tokens", "4", "--json")


def test_messages_are_answered_turn_by_turn(run: Run, desk: Path, story: Path) -> None:
    """One prompt as JSON, several as JSON Lines or as one array, each as the engine answers it."""
    (desk / "one.json").write_text(json.dumps(MESSAGES, indent=2))
    several = [MESSAGES, {"messages": MESSAGES[1:2]}, "Question 1?"]
    (desk / "some.jsonl").write_text("\ufeff" + "\n".join(map(json.dumps, several)) + "\n\n", encoding="utf-8")
    (desk / "array.json").write_text(json.dumps([MESSAGES, MESSAGES[1:2]]))
    policy = SteerablePolicy.load(story / "policy")
    z, sampling = policy.latents(policy.reward.prior()), Sampling(max_new_tokens=4, temperature=0.7)
    forms = [MESSAGES, MESSAGES[1:2], "Question 1?"]
    with open_engine(policy) as engine:
        expected = {
            "one.json": engine.generate(requests(forms[:1], z, sampling)),
            "some.jsonl": engine.generate(requests(forms, z, sampling)),
            "array.json": engine.generate(requests(forms[:2], z, sampling)),
        }
    for name, answers in expected.items():
        code, out, err = run("generate", story / "policy", "--messages", name, *ASKED)
        assert code == 0, err
        found = json.loads(out)["answers"]
        assert [entry["responses"] for entry in found] == [[one.text for one in some] for some in answers]
        assert [entry["prompt"] for entry in found] == forms[: len(found)]
    code, out, err = run(
        "generate", story / "policy", "--prompt", "First?", "--messages", "one.json", "--max-new-tokens", "4"
    )
    assert code == 0, err
    assert [line for line in out.splitlines() if line.startswith("> ")] == ["> First?", "> A smaller one."]


def test_rows_that_cannot_be_answered_may_be_skipped(run: Run, desk: Path, story: Path) -> None:
    """Not JSON, no conversation, too long for the base: the answers are those of the other rows."""
    (desk / "m.jsonl").write_text(
        f'"Hi"\nHi there\n"Hi{"x" * 100}"\n[{{"role": "user", "content": ""}}]\n"Question?"\n'
    )
    command = ["generate", story / "policy", "--messages", "m.jsonl", *ASKED]
    code, out, err = run(*command, "--skip-bad-rows")
    assert code == 0, err
    assert all(f"row {row}: " in err for row in (2, 3, 4))
    (desk / "m.jsonl").write_text('"Hi"\n"Question?"\n')
    assert run(*command) == (0, out, "")


@pytest.mark.parametrize("unsteered", [False, True])
def test_the_best_of_several_is_shown_and_all_are_told(run: Run, desk: Path, story: Path, unsteered: bool) -> None:
    (desk / "one.json").write_text(json.dumps(MESSAGES))
    command = ["generate", story / "policy", "--messages", "one.json", "--profile", "short.json", "--best-of", "4",
               "--max-new-tokens", "4", *(["--unsteered"] if unsteered else [])]  # fmt: skip
    code, out, err = run(*command, "--json")
    assert code == 0, err
    ((found,),) = [json.loads(out)["answers"]]
    policy = SteerablePolicy.load(story / "policy")
    user = policy.reward.load_user(story / "short.json")
    with open_engine(policy) as engine:
        read_with_base(policy.reward, engine.base)
        sampling = Sampling(max_new_tokens=4, temperature=0.7, samples=4)
        z = None if unsteered else policy.latents(user.state)
        (ranked,) = best_of(engine, [user], [MESSAGES], sampling, z=z)
    assert tuple(found["responses"]) == ranked.answers
    assert found["rewards"] == pytest.approx(list(ranked.rewards), abs=1e-5)
    assert found["rewards"] == sorted(found["rewards"], reverse=True)
    code, out, _ = run(*command)
    assert out.splitlines()[0] == ranked.answers[0].splitlines()[0]


# -- export ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["short.json", None])
def test_an_exported_adapter_is_the_users_policy_in_stock_peft(
    run: Run, desk: Path, story: Path, who: str | None
) -> None:
    from peft import PeftModel

    profile = [] if who is None else ["--profile", who]
    code, out, err = run("export", story / "policy", *profile, "--out", "adapter", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["largest_difference"] <= found["tolerance"] < found["moved"]
    assert {path.name for path in (desk / "adapter").iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    policy = SteerablePolicy.load(story / "policy")
    user = policy.reward.prior() if who is None else read_profile(who)[1]
    fresh = PeftModel.from_pretrained(load_base(str(story / "llm")).model, desk / "adapter").eval()
    ids = torch.tensor([[1, 60, 70, 80, 90]])
    with open_engine(policy) as engine, engine.steered(policy.latents(user)) as model, torch.no_grad():
        assert torch.allclose(model(ids).logits, fresh(ids).logits, atol=1e-4)
    code, out, _ = run("export", story / "policy", *profile, "--out", "adapter", "--overwrite")
    assert code == 0
    assert "stock peft" in out
    assert "written: adapter" in out


# -- refused -----------------------------------------------------------------------------------------------------------

TRAIN = f"train-policy data.jsonl --base {{base}}/llm --reward {{base}}/model --out p {' '.join(SHORT)}"
GENERATE = "generate {base}/policy --prompt Hi"
EXPORT = "export {base}/policy --out adapter"
EMPTY = json.dumps({"user_id": "u1", "prompt": "Q", "chosen": " ", "rejected": "b"}) + "\n"
LONG = [row | {"chosen": row["chosen"] * 3} for row in small_rows()]


@cases(
    ("nothing to train on", "train-policy", ("expected DATA, --base MODEL, --reward DIR and --out DIR",)),
    ("a base that is missing", TRAIN.replace("{base}/llm", "./gone"),
     ("base: no model folder at './gone'", "give an existing folder")),
    ("a base without a tokenizer", TRAIN.replace("{base}/llm", "{base}/model"),
     ("base:", "model' holds no tokenizer.json")),
    ("a reward model that is missing", TRAIN.replace("{base}/model", "gone"),
     ("gone: no such folder", "give the folder `tacit train-reward` wrote")),
    ("an unknown setting", f"{TRAIN} --set training.bet=1", ("unknown setting training.bet", "did you mean")),
    ("a setting out of range", f"{TRAIN} --set training.beta=0", ("training.beta = 0", "greater than 0")),
    ("a setting of another modulator", f"{TRAIN} --set policy.modulator.depth=1",
     ("policy.modulator", "'gated_lora' has no setting depth", "rank")),
    ("an unknown modulator", f"{TRAIN} --set policy.modulator=vector", ("'vector' is unknown", "known: ")),
    ("an unknown tracker", f"{TRAIN} --set training.report_to=[\"paper\"]", ("training.report_to", "tensorboard")),
    ("a loss that diverges", f"{TRAIN} --set training.learning_rate=1e30", ("loss is nan", "lower learning_rate")),
    ("a block that is not there", f"{TRAIN} --set policy.modulator.blocks=[9]", ("block 9", "0 to 1")),
    ("targets that are not there", f"{TRAIN} --set policy.modulator.targets=[\"c_attn\"]", ("c_attn", "q_proj")),
    ("more tokens than the base takes", f"{TRAIN} --set policy.max_length=500", ("max_length 500", "96 tokens")),
    ("a chat template that is not there", f"{TRAIN} --set policy.template=chat",
     ("no chat template", "give template=plain")),
    ("an empty response", TRAIN, ("data.jsonl", "row 1", "chosen"), file("data.jsonl", EMPTY)),
    ("a response that is too long", TRAIN,
     ("data.jsonl: 42 of 84 rows are bad: row 1: a response of", "does not fit into 96", "--skip-bad-rows"),
     lambda work, base: write_rows(work / "data.jsonl", LONG)),
    ("too few users", TRAIN, ("users",), lambda work, base: write_rows(work / "data.jsonl", small_rows()[:6])),
    ("--out not empty", TRAIN, ("--out p is not empty", "name another folder"), file("p/notes.txt", "mine")),
    ("--out a file", TRAIN, ("--out p is a file", "name a folder"), file("p", "mine")),
    ("an unfinished run of somebody else's", TRAIN, ("p.partial", "holds something else", "name another"),
     file("p.partial/notes.txt", "mine")),
    ("a file where the unfinished run would live", TRAIN, ("p.partial", "holds something else"),
     file("p.partial", "mine")),
)  # fmt: skip
def test_train_policy_refuses(case: Case, run: Run, desk: Path, story: Path) -> None:
    refuses(case, run, desk, story)


@cases(
    ("another base", f"{GENERATE} --base {{base}}/other-llm",
     ("other-llm' is not the one this policy was trained on", "name that one as base")),
    ("a base that is missing", f"{GENERATE} --base ./gone", ("base: no model folder at './gone'",)),
    ("no policy", "generate gone --prompt Hi", ("gone", "folder")),
    ("a reward model for a policy", "generate {base}/model --prompt Hi", ("model", "train-policy")),
    ("a prompt longer than the base reads", f"{GENERATE}{'x' * 100} --max-new-tokens 5",
     ("a prompt of 104 tokens", "exceed the 96 tokens", "shorten the prompt")),
    ("an answer longer than the base writes", f"{GENERATE} --max-new-tokens 200", ("exceed the 96 tokens", "lower")),
    ("another model's profile", f"{GENERATE} --profile stranger.json", ("made by model", "not by this one")),
    ("another model's profile to lean towards", f"{GENERATE} --toward stranger.json --mix 0.5",
     ("made by model", "not by this one")),
    ("a profile that is missing", f"{GENERATE} --profile none.json", ("none.json does not exist", "tacit infer")),
    ("--mix without --toward", f"{GENERATE} --profile short.json --mix 0.5",
     ("--toward PROFILE.json and --mix SHARE belong together",)),
    ("--toward without --mix", f"{GENERATE} --toward short.json", ("belong together", "give both or neither")),
    ("--mix 2", f"{GENERATE} --toward short.json --mix 2", ("mix 2", "outside [0, 1]")),
    ("--mix nan", f"{GENERATE} --toward short.json --mix nan", ("mix nan", "outside [0, 1]")),
    ("a profile that is not to steer", f"{GENERATE} --unsteered --profile short.json",
     ("--unsteered takes no profile", "leave one of them out")),
    ("--top-p 0", f"{GENERATE} --top-p 0", ("--top-p 0", "outside (0, 1]")),
    ("--within-base", f"{GENERATE} --within-base", ("--within-base", "--top-p below 1")),
    ("temperature nan", f"{GENERATE} --temperature nan", ("temperature",)),
    ("samples that cannot differ", f"{GENERATE} --temperature 0 -n 2", ("2 answers", "would not differ", "raise")),
    ("no prompt", "generate {base}/policy", ("give --prompt TEXT or --messages FILE",)),
    ("no file of messages", "generate {base}/policy --messages gone.json", ("gone.json", "No such file")),
    ("messages that are no JSON", "generate {base}/policy --messages m.jsonl",
     ("m.jsonl: 1 of 2 rows is bad: row 2: not JSON", "--skip-bad-rows"), file("m.jsonl", '"Hi"\nHi there\n')),
    ("messages of nothing", "generate {base}/policy --messages m.jsonl",
     ("m.jsonl: 1 of 2 rows is bad: row 2: has a message of role 'user' without text", "--skip-bad-rows"),
     file("m.jsonl", '"Hi"\n[{"role": "user", "content": ""}]\n')),
    ("a row that is too long", "generate {base}/policy --max-new-tokens 5 --messages m.jsonl",
     ("m.jsonl: 1 of 2 rows is bad: row 3: a prompt of 104 tokens", "exceed the 96", "--skip-bad-rows"),
     file("m.jsonl", f'"Hi"\n\n"Hi{"x" * 100}"\n')),
    ("no row that fits", "generate {base}/policy --max-new-tokens 5 --messages m.jsonl",
     ("m.jsonl: none of 1 rows can be used: row 1: a prompt of 104 tokens",),
     file("m.jsonl", f'"Hi{"x" * 100}"\n')),
    ("a profile of somebody else", f"{GENERATE} --profile short.json --user u2",
     ("short.json is the profile of 'u1', not of 'u2'", "leave user out")),
    ("a user of no profile", f"{GENERATE} --user u2", ("--user u2", "give --profile FILE")),
    ("an empty file of messages", "generate {base}/policy --messages m.jsonl", ("m.jsonl", "holds no prompt"),
     file("m.jsonl", "\n")),
    ("--best-of with --samples", f"{GENERATE} --best-of 3 -n 2", ("--best-of", "leave --toward and --samples out")),
    ("--best-of 2 without chance", f"{GENERATE} --best-of 2 --temperature 0", ("2 answers", "would not differ")),
    ("--out a file of something else", f"{GENERATE} --out short.json",
     ("--out short.json exists", "name another file")),
    ("no such device", f"{GENERATE} --device moon", ("no device 'moon'",)),
    ("no such precision", f"{GENERATE} --dtype float3", ("dtype 'float3' is unknown",)),
)  # fmt: skip
def test_generate_refuses(case: Case, run: Run, desk: Path, story: Path) -> None:
    refuses(case, run, desk, story)


@cases(
    ("a policy that does not fold", "export {base}/film --out adapter",
     ("FiLM folds into no ordinary adapter", "gated_lora")),
    ("another base", f"{EXPORT} --base {{base}}/other-llm", ("is not the one this policy was trained on",)),
    ("another model's profile", f"{EXPORT} --profile stranger.json", ("made by model", "not by this one")),
    ("a profile that is missing", f"{EXPORT} --profile none.json", ("none.json does not exist", "tacit infer")),
    ("a profile of somebody else", f"{EXPORT} --profile short.json --user u2",
     ("short.json is the profile of 'u1', not of 'u2'",)),
    ("no profile", f"{EXPORT} --profile data.jsonl", ("data.jsonl: the profile is not complete JSON", "tacit infer")),
    ("--out not empty", EXPORT, ("--out adapter is not empty", "name another folder"),
     file("adapter/notes.txt", "mine")),
    ("no policy", "export gone --out adapter", ("gone", "folder")),
)  # fmt: skip
def test_export_refuses(case: Case, run: Run, desk: Path, story: Path) -> None:
    refuses(case, run, desk, story)
