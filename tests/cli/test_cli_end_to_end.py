"""embed, train-reward, evaluate, infer and score, one after another, as a user gives them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cli_world import PROMPTS, TINY, USERS, Run, small_rows, write_rows
from safetensors.torch import load_file

import tacit


def tacit_process(*argv: object, before: str = "") -> subprocess.CompletedProcess[str]:
    script = f"import sys\n{before}\nfrom tacit.cli import main\nsys.exit(main({[str(word) for word in argv]!r}))"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)


# train-reward


def test_a_trained_model_is_a_complete_folder(base: Path) -> None:
    assert {path.name for path in (base / "model").iterdir()} == {
        "README.md", "config.json", "metrics.jsonl", "model.safetensors", "pooled",
    }  # fmt: skip
    assert not list(base.glob("model.*"))
    names = {json.loads(line)["name"] for line in (base / "model" / "metrics.jsonl").read_text().splitlines()}
    assert names == {"reward", "pooled"}
    model = tacit.RewardModel.load(base / "model")
    assert model.seen.knows_users([f"u{n}" for n in range(USERS)]).all()
    assert not model.seen.knows_users(["stranger"]).any()


def test_train_reward_reports_what_it_did(run: Run, work: Path) -> None:
    code, out, err = run("train-reward", "data.jsonl", "--out", "m", "--embedder", "hash", *TINY, "--json")
    assert code == 0, err
    result = json.loads(out)
    assert (result["data"]["users"], result["data"]["choices"]) == (USERS, USERS * PROMPTS)
    assert result["embedder"] == {"name": "hash", "dimensions": 512}
    for name in ("personalised", "pooled"):
        assert result["validation"][name]["steps"] == 20
        assert 0 <= result["validation"][name]["accuracy"] <= 1
    assert result["inert"] == (None if "too few to tell" in err else "personalisation is inert" in err)
    code, out, _ = run("train-reward", "data.jsonl", "--out", "m", "--embedder", "hash", *TINY, "--overwrite")
    assert code == 0
    assert "pooled" in out
    assert f"{USERS} users" in out


def test_inert_personalisation_is_said(run: Run, work: Path) -> None:
    """And what so few validation users cannot tell, too."""
    rows = [row | {"user_id": f"u{number % USERS}"} for number, row in enumerate(small_rows())]
    for row in rows:  # everybody takes the short answer
        row["chosen"], row["rejected"] = sorted((row["chosen"], row["rejected"]), key=len)
    more = [row | {"user_id": f"{row['user_id']} of {copy}"} for copy in range(6) for row in rows]
    for some, said in ((rows, "validation users are too few to tell"), (more, "personalisation is inert")):
        write_rows(work / "same.jsonl", some)
        code, out, err = run("train-reward", "same.jsonl", "--out", "m", "--embedder", "hash", *TINY, "--overwrite")
        assert code == 0
        assert said in out
        assert said in err


def test_print_config_needs_no_data_and_is_read_back(run: Run, work: Path) -> None:
    code, out, _ = run("train-reward", "--print-config", "--set", "reward.latent=3", "--seed", "7")
    assert code == 0
    assert json.loads(out)["reward"]["latent"] == 3
    assert json.loads(out)["training"]["seed"] == 7
    (work / "c.json").write_text(out)
    assert run("train-reward", "--config", "c.json", "--print-config") == (0, out, "")


def test_bad_rows_are_dropped_on_request(run: Run, work: Path) -> None:
    with (work / "data.jsonl").open("a") as file:
        file.write('{"user_id": "u1", "prompt": "p", "chosen": "same", "rejected": 3}\n')
    command = ("train-reward", "data.jsonl", "--out", "m", "--embedder", "hash", *TINY)
    assert run(*command)[0] == 2
    code, out, err = run(*command, "--skip-bad-rows", "--json")
    assert code == 0
    assert json.loads(out)["data"]["skipped"] == 1
    assert "row 85: rejected is 3, expected text" in err


KILL_AT = """
import os, signal, tacit.training.loop as loop
write, calls = loop.write_checkpoint, []
def write_and_die(*arguments):
    write(*arguments)
    calls.append(1)
    if len(calls) == {count}:
        os.kill(os.getpid(), signal.SIGKILL)
loop.write_checkpoint = write_and_die
"""


def test_a_run_killed_twice_ends_with_the_same_weights(run: Run, work: Path, base: Path) -> None:
    command = ("train-reward", "data.jsonl", "--out", "m", "--embedder", "hash", *TINY)
    # Two checkpoints per run: the first kill is half-way through the control, the second half-way through the model.
    for count in (1, 2):
        assert tacit_process(*command, before=KILL_AT.format(count=count)).returncode == -9
        assert not (work / "m").exists()
        assert (work / "m.partial").is_dir()
    assert (work / "m.partial" / "reward" / "checkpoint").is_dir()
    assert run(*command)[0] == 0
    assert not (work / "m.partial").exists()
    for part in (".", "pooled"):
        ours, theirs = (load_file(folder / part / "model.safetensors") for folder in (work / "m", base / "model"))
        assert ours.keys() == theirs.keys()
        assert all((ours[name] == theirs[name]).all() for name in ours)
        ours, theirs = (
            json.loads((folder / part / "config.json").read_text()) for folder in (work / "m", base / "model")
        )
        del ours["notes"]["seconds"], theirs["notes"]["seconds"]
        assert ours == theirs
    steps = [json.loads(line)["step"] for line in (work / "m" / "metrics.jsonl").read_text().splitlines()]
    assert steps == [10, 20, 10, 20]


# evaluate


def test_evaluate_writes_the_contract(run: Run, work: Path, base: Path) -> None:
    strangers = [row | {"user_id": f"new-{row['user_id']}"} for row in small_rows()]
    for number, row in enumerate(strangers):
        if number % PROMPTS == 0:
            row["prompt"] += " Truly?"
    write_rows(work / "mixed.jsonl", [*small_rows(), *strangers])
    code, out, err = run("evaluate", base / "model", "mixed.jsonl", "--out", "r", "--k", "0,1,2", "--json")
    assert code == 0, err
    assert {path.name for path in (work / "r").iterdir()} == {
        "results.json", "results.md", "accuracy.png", "reliability.png",
    }  # fmt: skip
    result = json.loads((work / "r" / "results.json").read_text())
    assert json.loads(out) == result | {"written": json.loads(out)["written"]}
    assert set(result["model"]["accuracy"]) == {"0", "1", "2"}
    assert all(0 <= value <= 1 for value in result["model"]["accuracy"].values())
    assert {"nll", "ece"} <= result["model"].keys()
    assert {"pooled", "shuffled_user", "adaptation_off"} <= result["controls"].keys()
    assert result["n_users"]["0"] == 2 * USERS
    assert result["met"] == {
        "users": {"seen": USERS, "unseen": USERS},
        "prompts": {"seen": PROMPTS, "unseen": 1},
    }
    parts = result["parts"]
    assert {"seen_users", "unseen_users", "seen_prompts", "unseen_prompts"} <= parts.keys()
    assert parts["unseen_users"]["n_users"]["0"] == USERS
    # Only the strangers were asked about the new prompt.
    assert parts["unseen_prompts"]["n_users"]["0"] == USERS
    assert parts["seen_prompts"]["n_users"]["0"] == 2 * USERS
    markdown = (work / "r" / "results.md").read_text()
    for heading in ("## Unseen users", "## Seen users", "## Unseen prompts"):
        assert heading in markdown
    first = (work / "r" / "results.json").read_bytes()
    code, out, _ = run("evaluate", base / "model", "mixed.jsonl", "--out", "r", "--k", "2,1,0", "--overwrite")
    assert code == 0
    assert "unseen users" in out
    assert (work / "r" / "results.json").read_bytes() == first


def test_evaluate_takes_the_test_rows_and_warns_where_nobody_is_new(run: Run, work: Path, base: Path) -> None:
    rows = [row | {"split": "test" if row["user_id"] in ("u1", "u2", "u3") else "train"} for row in small_rows()]
    write_rows(work / "split.jsonl", rows)
    code, out, err = run("evaluate", base / "model", "split.jsonl", "--out", "r", "--k", "0,1", "--json")
    assert code == 0
    assert json.loads(out)["met"]["users"] == {"seen": 3, "unseen": 0}
    assert "all 3 users were in training" in err


def test_a_model_without_its_control_is_evaluated_without(run: Run, work: Path, base: Path) -> None:
    shutil.copytree(base / "model", work / "bare", ignore=shutil.ignore_patterns("pooled"))
    code, out, _ = run("evaluate", "bare", "one.jsonl", "--out", "r", "--k", "0,1", "--json")
    assert code == 0
    assert "pooled" not in json.loads(out)["controls"]


def test_prompts_met_as_items_of_one_prompt_count_as_seen(run: Run, work: Path) -> None:
    """Users whose choices share one prompt are grouped by item; so is what the model remembers."""
    rows = [row | {"prompt": "Which?"} for row in small_rows()]
    write_rows(work / "one-prompt.jsonl", rows)
    assert run("train-reward", "one-prompt.jsonl", "--out", "m", "--embedder", "hash", *TINY)[0] == 0
    code, out, _ = run("evaluate", "m", "one-prompt.jsonl", "--out", "r", "--k", "0,1", "--json")
    assert code == 0
    assert json.loads(out)["met"]["prompts"] == {"seen": 2 * PROMPTS, "unseen": 0}


# infer and score


def test_a_profile_ranks_as_its_user_would_in_this_process_and_another(run: Run, work: Path, base: Path) -> None:
    code, out, err = run("infer", base / "model", "one.jsonl", "--out", "p.json", "--json")
    assert code == 0, err
    inferred = json.loads(out)
    assert (inferred["user"], inferred["choices"]) == ("u1", PROMPTS)
    assert 0 < inferred["doubt"] < 1
    assert inferred["information"] > 0
    assert len(inferred["moved"]) == 2 * PROMPTS
    shifts = [abs(item["shift"]) for item in inferred["moved"]]
    assert shifts == sorted(shifts, reverse=True)
    assert (work / "p.json").read_bytes() == (work / "profile.json").read_bytes()

    command = ("score", base / "model", "--profile", "p.json", "items.jsonl", "--json", "--out", "s.json")
    code, out, err = run(*command)
    assert code == 0, err
    ranking = json.loads(out)["ranking"]
    assert json.loads((work / "s.json").read_text()) == json.loads(out)
    assert len(ranking) == 2 * PROMPTS
    for better, worse in zip(ranking[::2], ranking[1::2], strict=True):
        assert better["prompt"] == worse["prompt"]
        assert (better["rank"], worse["rank"]) == (1, 2)
        assert better["score"] >= worse["score"]
        assert (better["population_rank"] < worse["population_rank"]) == (
            better["population_score"] >= worse["population_score"]
        )
    assert tacit_process(*command, "--overwrite").stdout == out


def test_one_of_several_users_is_named(run: Run, work: Path, base: Path) -> None:
    assert run("infer", base / "model", "data.jsonl", "--user", "u1", "--out", "p.json")[0] == 0
    assert (work / "p.json").read_bytes() == (work / "profile.json").read_bytes()
    rows = [{key: row[key] for key in ("prompt", "chosen", "rejected")} for row in small_rows()[PROMPTS : 2 * PROMPTS]]
    write_rows(work / "anonymous.jsonl", rows)
    assert run("infer", base / "model", "anonymous.jsonl", "--user", "u1", "--out", "p.json", "--overwrite")[0] == 0
    assert (work / "p.json").read_bytes() == (work / "profile.json").read_bytes()


def test_three_lines_of_python_do_what_the_verbs_do(run: Run, work: Path, base: Path) -> None:
    model = tacit.RewardModel.load(base / "model")
    ranked = model.user(work / "one.jsonl").score("Question 1?", ["Yes, 1.", "A long story."])
    assert [answer.rank for answer in ranked] == [1, 2]
    assert model.load_user(work / "profile.json").score("Question 1?", ["Yes, 1.", "A long story."]) == ranked


def test_choices_are_added_and_forgotten_as_if_inferred_at_once(run: Run, work: Path, base: Path) -> None:
    rows = [json.loads(line) for line in (work / "one.jsonl").read_text().splitlines()]
    write_rows(work / "first.jsonl", rows[:4])
    write_rows(work / "rest.jsonl", rows[4:])
    assert run("infer", base / "model", "first.jsonl", "--out", "p.json")[0] == 0
    before = (work / "p.json").read_bytes()
    code, out, err = run("add", "p.json", "rest.jsonl", "--model", base / "model", "--json")
    assert code == 0, err
    assert (json.loads(out)["choices_before"], json.loads(out)["choices"]) == (4, 6)
    whole = tacit.RewardModel.load(base / "model").user(work / "one.jsonl")
    added = tacit.RewardModel.load(base / "model").load_user(work / "p.json")
    assert added.score("Question 1?", ["Yes, 1.", "No."]) == whole.score("Question 1?", ["Yes, 1.", "No."])
    assert run("add", "p.json", "rest.jsonl", "--model", base / "model", "--forget", "--out", "q.json")[0] == 0
    assert (work / "q.json").read_bytes() == before
    code, _, err = run("add", "p.json", "data.jsonl", "--model", base / "model", "--out", "q.json")
    assert (code, "give --overwrite" in err or "exists" in err) == (2, True)
    code, _, err = run("add", "absent.json", "rest.jsonl", "--model", base / "model")
    assert (code, "make it with `tacit infer`" in err) == (2, True)


def test_all_users_of_a_log_go_into_one_file(run: Run, work: Path, base: Path) -> None:
    code, out, err = run("infer", base / "model", "data.jsonl", "--out", "all.parquet", "--json")
    assert code == 0, err
    assert json.loads(out)["users"] == len({row["user_id"] for row in small_rows()})
    write_rows(work / "items.jsonl", [{"prompt": "Question 1?", "response": text} for text in ("Yes, 1.", "No.")])
    code, one, _ = run("score", base / "model", "--profile", "all.parquet", "--user", "u1", "items.jsonl", "--json")
    assert code == 0
    _, other, _ = run("score", base / "model", "--profile", "profile.json", "items.jsonl", "--json")
    for a, b in zip(json.loads(one)["ranking"], json.loads(other)["ranking"], strict=True):
        assert (a["response"], a["score"]) == (b["response"], pytest.approx(b["score"], abs=1e-5))
    code, _, err = run("score", base / "model", "--profile", "all.parquet", "items.jsonl")
    assert (code, "name one with --user 'ID'" in err) == (2, True)


def test_a_user_is_explained_in_words(run: Run, work: Path, base: Path) -> None:
    code, out, err = run("explain", base / "model", "--profile", "profile.json", "one.jsonl")
    assert code == 0, err
    assert "likes more than most people do:" in out
    assert "likes less than most people do:" in out
    write_rows(work / "items.jsonl", [{"prompt": "Question 1?", "response": text} for text in ("Yes, 1.", "No.")])
    code, out, _ = run("explain", base / "model", "--profile", "profile.json", "items.jsonl", "--json")
    assert {each["answer"] for each in json.loads(out)["moved"]} == {"Yes, 1.", "No."}


def test_what_people_read(run: Run, work: Path, base: Path) -> None:
    _, out, _ = run("infer", base / "model", "one.jsonl", "--out", "p.json")
    assert "user u1: 6 choices; doubt" in out
    assert "nats learnt" in out
    write_rows(work / "odd.jsonl", [{"prompt": "[bold]p\x1b[31m", "response": f"a\nb {n}"} for n in range(2)])
    _, out, _ = run("score", base / "model", "--profile", "p.json", "odd.jsonl")
    assert "[bold]p [31m" in out
    assert "a b 1" in out
    assert "\x1b" not in out


def test_a_model_whose_states_are_sums(run: Run, work: Path) -> None:
    """Its profiles do not grow with choices, and it can say how much a user told it."""
    additive = (*TINY, "--set", "reward.encoder=additive")
    assert run("train-reward", "data.jsonl", "--out", "m", "--embedder", "hash", *additive)[0] == 0
    code, out, _ = run("infer", "m", "one.jsonl", "--out", "p.json", "--json")
    assert code == 0
    assert 0 < json.loads(out)["doubt"] < 1
    assert json.loads(out)["information"] > 0
    assert json.loads((work / "p.json").read_text())["kind"] == "sum"
    assert len((work / "p.json").read_bytes()) < 1000
    _, out, _ = run("infer", "m", "one.jsonl", "--out", "p.json", "--overwrite")
    assert "nats learnt" in out
    assert run("score", "m", "--profile", "p.json", "items.jsonl")[0] == 0


# embed


def test_embed_is_resumable_and_train_reward_reads_the_store(run: Run, work: Path, base: Path) -> None:
    write_rows(work / "half.jsonl", small_rows()[: PROMPTS // 2])
    code, out, _ = run("embed", "half.jsonl", "--store", "store", "--embedder", "hash", "--json")
    assert code == 0
    assert {key: json.loads(out)[key] for key in ("items", "new", "stored")} == {"items": 6, "new": 6, "stored": 6}
    code, out, _ = run("embed", "data.jsonl", "--store", "store", "--embedder", "hash", "--json")
    assert {key: json.loads(out)[key] for key in ("items", "new", "stored")} == {"items": 12, "new": 6, "stored": 12}
    before = (work / "store" / "vectors.f16").read_bytes()
    assert run("train-reward", "data.jsonl", "--out", "m", "--store", "store", "--embedder", "hash", *TINY)[0] == 0
    assert (work / "store" / "vectors.f16").read_bytes() == before
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (work / "m", base / "model"))
    assert all((ours[name] == theirs[name]).all() for name in ours)
    assert "0 of them new" in run("embed", "data.jsonl", "--store", "store", "--embedder", "hash")[1]
