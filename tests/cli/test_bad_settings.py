"""Wrong flags, settings and places to write to: each refused in one line, before anything is written."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from bad_input import Case, Prepare, altered, cases, copied, file, refuses
from cli_world import TINY, Run

PLAIN = "train-reward data.jsonl --out out --embedder hash"
TRAIN = f"{PLAIN} {' '.join(TINY)}"
EVALUATE = "evaluate {base}/model data.jsonl --out out"


def config(text: str, name: str = "c.toml") -> Prepare:
    return file(name, text)


@cases(
    ("nothing given", "train-reward", ("expected DATA and --out DIR", "--help")),
    ("no --out", "train-reward data.jsonl", ("expected DATA and --out DIR",)),
    ("no store", "embed data.jsonl", ("Missing option '--store'", "--help")),
    ("no model", "evaluate --out out", ("Missing argument 'MODEL'", "--help")),
    ("no profile", "score {base}/model items.jsonl", ("Missing option '--profile'", "--help")),
    ("unknown flag", PLAIN + " --fast", ("No such option", "--fast", "--help")),
    ("one argument too many", EVALUATE + " more", ("unexpected extra argument", "more", "--help")),
    ("seed below 0", PLAIN + " --seed -1", ("Invalid value for '--seed'", "greater than or equal to 0", "--help")),
    ("seed a word", EVALUATE + " --seed lucky", ("Invalid value for '--seed'", "valid integer", "--help")),
    ("k a word", EVALUATE + " --k a", ("--k 'a'", "expected whole numbers from 0", "such as --k 0,1,3,10")),
    ("k below 0", EVALUATE + " --k=-1", ("--k '-1'", "expected whole numbers from 0")),
    ("k empty", EVALUATE + " --k ''", ("--k ''", "expected whole numbers from 0")),
    ("k with a hole", EVALUATE + " --k 0,,3", ("--k '0,,3'", "expected whole numbers")),
    ("k a fraction", EVALUATE + " --k 1.5", ("--k '1.5'", "expected whole numbers")),
    ("k beyond any", EVALUATE + " --k 99999999999999999999", ("expected whole numbers from 0 to 1000000",)),
    ("k in other digits", EVALUATE + " --k ²", ("expected whole numbers",)),
    ("--user of nobody", "infer {base}/model one.jsonl --out p.json --user ''",
     ("no choice of user ''", "its users: 'u1'")),
)  # fmt: skip
def test_flags(case: Case, run: Run, work: Path, base: Path) -> None:
    refuses(case, run, work, base)


@cases(
    ("unknown section", PLAIN + " --set train.steps=5", ("unknown setting train", "did you mean training?")),
    ("unknown key", PLAIN + " --set training.step=5",
     ("unknown setting training.step", "did you mean training.steps?")),
    ("deeper unknown key", PLAIN + " --set training.objective.bta=5", ("did you mean training.objective.beta?",)),
    ("key without section", PLAIN + " --set steps=5", ("unknown setting steps", "known: reward, training")),
    ("no value", PLAIN + " --set training.steps", ("expected KEY=VALUE",)),
    ("no key", PLAIN + " --set =5", ("expected KEY=VALUE",)),
    ("wrong type", PLAIN + " --set training.steps=many", ('training.steps = "many"', "valid integer")),
    ("fraction of a step", PLAIN + " --set training.steps=1.5", ("training.steps = 1.5", "valid integer")),
    ("no steps", PLAIN + " --set training.steps=0", ("training.steps = 0", "greater than or equal to 1")),
    ("too many steps", PLAIN + " --set training.steps=99999999999", ("training.steps", "less than or equal to")),
    ("unknown choice", PLAIN + " --set reward.encoder=gru",
     ('reward.encoder = "gru"', "known: additive, attention, laplace, none")),
    ("width 0", PLAIN + " --set reward.encoder=additive --set reward.encoder.hidden=[0]",
     ("reward.encoder.hidden.0 = 0", "greater than or equal to 1")),
    ("width below 0", PLAIN + " --set reward.head.hidden=[-4]",
     ("reward.head.hidden.0 = -4", "greater than or equal to 1")),
    ("width beyond memory", PLAIN + " --set reward.head.hidden=[99999999]",
     ("reward.head.hidden.0", "less than or equal to")),
    ("rate below 0", PLAIN + " --set training.learning_rate=-1", ("training.learning_rate = -1", "greater than 0")),
    ("rate infinite", PLAIN + " --set training.learning_rate=Infinity", ("training.learning_rate", "finite number")),
    ("half-life NaN", PLAIN + " --set reward.half_life=NaN", ("reward.half_life", "finite number")),
    ("dropout 1", PLAIN + " --set reward.dropout=1", ("reward.dropout = 1", "less than 1")),
    ("seed beyond 32 bits", PLAIN + " --set training.seed=99999999999", ("training.seed", "less than 4294967296")),
    ("threads 0", PLAIN + " --set training.threads=0", ("training.threads = 0", "greater than or equal to 1")),
    ("section a number", PLAIN + " --set reward=3", ("reward = 3", "valid dictionary")),
    ("ELBO without doubt", PLAIN + " --set training.objective.kind=elbo --set reward.encoder=additive"
     " --set reward.encoder.variational=false", ("elbo needs a Gaussian posterior", "use predictive")),
    ("ELBO of the default", PLAIN + " --set training.objective.kind=elbo",
     ("reward.encoder = laplace with these settings does not have", "use predictive, or additive")),
    ("another encoder's setting", PLAIN + " --set reward.encoder.variational=false",
     ("encoder 'laplace' has no setting variational; known: components",)),
    ("misspelt setting of an encoder", PLAIN + " --set reward.encoder.componets=2", ("did you mean components?",)),
    ("unknown head", PLAIN + " --set reward.head.kind=linear", ("reward head 'linear' is unknown", "bilinear, mlp")),
    ("a head that an encoder cannot read", PLAIN + " --set reward.head=mlp",
     ("'laplace' reads the reward of a bilinear head", "set head = bilinear")),
    ("ageing without times", PLAIN + " --set reward.half_life=60",
     ("84 of 84 rows", "no timestamp", "or leave half_life out")),
    ("unknown device", TRAIN + " --set training.device=teapot", ("device 'teapot' cannot be used", "use device=cpu")),
    ("device without numbers", TRAIN + " --set training.device=meta",
     ("device 'meta' cannot be used", "use device=cpu")),
    ("rate that explodes", TRAIN + " --set training.learning_rate=1e37 --set training.clip=1e30 --embedder hash",
     ("the loss is", "lower learning_rate")),
    ("no config file", PLAIN + " --config none.toml", ("cannot read or write none.toml", "No such file")),
    ("config a folder", PLAIN + " --config d.toml", ("cannot read or write d.toml", "directory"), lambda work,
     base: (work / "d.toml").mkdir()),
    ("config of another kind", PLAIN + " --config c.yaml", ("expected a .toml or .json file",),
     config("a: 1", "c.yaml")),
    ("malformed TOML", PLAIN + " --config c.toml", ("--config c.toml is not valid TOML", "at end of document"),
     config("reward =")),
    ("malformed JSON", PLAIN + " --config c.json", ("--config c.json is not valid JSON", "line 1"),
     config('{"reward":', "c.json")),
    ("endless JSON", PLAIN + " --config c.json", ("--config c.json is not valid JSON",),
     config("[" * 200_000, "c.json")),
    ("JSON list", PLAIN + " --config c.json", ("expected an object of settings, found list",), config("[]", "c.json")),
    ("unknown section in a file", PLAIN + " --config c.toml",
     ("--config c.toml: unknown setting rewards", "did you mean reward?"), config("[rewards]\nlatent = 3")),
    ("unknown key in a file", PLAIN + " --config c.toml",
     ("unknown setting reward.latents", "did you mean reward.latent?"), config("[reward]\nlatents = 3")),
    ("bad value in a file", PLAIN + " --config c.toml", ("reward.latent = 0", "greater than or equal to 1"),
     config("[reward]\nlatent = 0")),
)  # fmt: skip
def test_settings(case: Case, run: Run, work: Path, base: Path) -> None:
    refuses(case, run, work, base)


@cases(
    ("a file", TRAIN.replace("--out out", "--out one.jsonl"), ("--out one.jsonl is a file", "name a folder")),
    ("a folder of something else", TRAIN, ("--out out is not empty", "name another folder"),
     file("out/thesis.tex", "x")),
    ("another library's model", TRAIN, ("--out out is not empty", "name another folder"),
     file("out/config.json", "{}")),
    ("under a file", TRAIN.replace("--out out", "--out one.jsonl/x/y"),
     ("lies under", "one.jsonl, which is a file", "name another folder")),
    ("here", TRAIN.replace("--out out", "--out ."), ("is not empty", "name another folder")),
    ("too long a name", TRAIN.replace("--out out", "--out " + 300 * "x"),
     ("cannot read or write", "File name too long")),
    ("place of the unfinished run taken", TRAIN, ("out.partial", "holds something else", "name another"),
     file("out.partial/thesis.tex", "x")),
    ("place of the unfinished run a file", TRAIN, ("out.partial", "holds something else", "name another"),
     file("out.partial", "x")),
    ("results into a file", "evaluate {base}/model data.jsonl --out one.jsonl", ("is a file",)),
    ("results into something else", EVALUATE, ("is not empty and holds no results.json", "name another folder"),
     file("out/thesis.tex", "x")),
    ("results under a file", "evaluate {base}/model data.jsonl --out one.jsonl/x",
     ("which is a file", "name another folder")),
    ("profile a folder", "infer {base}/model one.jsonl --out d", ("--out d is a folder", "name a file"), lambda work,
     base: (work / "d").mkdir()),
    ("profile over its choices", "infer {base}/model one.jsonl --out one.jsonl",
     ("one.jsonl exists and was not written by this command", "name another file")),
    ("profile under a file", "infer {base}/model one.jsonl --out one.jsonl/p.json",
     ("which is a file", "name another folder")),
    ("ranking over its profile", "score {base}/model --profile profile.json items.jsonl --out profile.json",
     ("profile.json exists and was not written by this command", "name another file")),
    ("ranking over its items", "score {base}/model --profile profile.json items.jsonl --out items.jsonl",
     ("items.jsonl exists and was not written by this command", "name another file")),
)  # fmt: skip
def test_places_to_write_to(case: Case, run: Run, work: Path, base: Path) -> None:
    refuses(case, run, work, base)


@pytest.mark.parametrize(
    "command",
    [
        TRAIN,
        EVALUATE,
        "infer {base}/model one.jsonl --out p.json",
        "score {base}/model --profile profile.json items.jsonl --out s.json",
    ],
)
def test_a_place_without_permission(
    command: str, run: Run, work: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)  # root may write anywhere
    refuses(Case("", command, ("cannot be written: no permission in",)), run, work, base)


def unfinished(*then: Prepare) -> Prepare:
    """The run that `base` interrupted, standing where this command looks for its own."""

    def prepare(work: Path, base: Path) -> None:
        copied("stopped.partial")(work, base)
        (work / "stopped.partial").rename(work / "out.partial")
        for step in then:
            step(work, base)

    return prepare


CHECKPOINT = "out.partial/pooled/checkpoint/"  # the control comes first: it is the base
WEIGHTS = CHECKPOINT + "state.safetensors"
DELETE = "delete the folder to start again"


@cases(
    ("other settings", TRAIN + " --seed 5",
     ("out.partial/pooled holds an unfinished run with other data or settings", "start anew with"), unfinished()),
    ("other data", TRAIN, ("holds an unfinished run with other data", "repeat those to finish it"),
     unfinished(file("data.jsonl", lambda b: b.split(b"\n", 1)[1]))),
    ("truncated counters", TRAIN, ("the checkpoint is damaged", DELETE),
     unfinished(file(CHECKPOINT + "progress.json", lambda b: b[:20]))),
    ("no counters", TRAIN, ("the checkpoint is damaged", DELETE),
     unfinished(lambda work, base: (work / CHECKPOINT / "progress.json").unlink())),
    ("counters of another version", TRAIN, ("the checkpoint is damaged", "another format", DELETE),
     unfinished(altered(CHECKPOINT + "progress.json", lambda p: p.update(format=0)))),
    ("unknown counter", TRAIN, ("the checkpoint is damaged", DELETE),
     unfinished(altered(CHECKPOINT + "progress.json", lambda p: p.update(more=0)))),
    ("step a word", TRAIN, ("the checkpoint is damaged", DELETE),
     unfinished(altered(CHECKPOINT + "progress.json", lambda p: p.update(step="ten")))),
    ("truncated weights", TRAIN, ("the checkpoint is damaged", DELETE),
     unfinished(file(WEIGHTS, lambda b: b[:-8]))),
    ("no weights", TRAIN, ("the checkpoint is damaged", DELETE),
     unfinished(lambda work, base: (work / WEIGHTS).unlink())),
    ("weights that are none", TRAIN, ("the checkpoint is damaged", DELETE),
     unfinished(file(WEIGHTS, b"PK\x03\x04pickle"))),
    ("other weights", TRAIN, ("the checkpoint is damaged", DELETE),
     unfinished(lambda work, base: shutil.copy(base / "model/model.safetensors", work / WEIGHTS))),
)  # fmt: skip
def test_damaged_unfinished_runs(case: Case, run: Run, work: Path, base: Path) -> None:
    refuses(case, run, work, base)


@cases(
    ("flag", "evaluate {base}/model data.jsonl --out out --k x", ("expected whole numbers",)),
    ("profile", "score {base}/model --profile one.jsonl items.jsonl", ("not complete JSON", "tacit infer")),
)  # fmt: skip
def test_in_a_process_of_its_own(case: Case, work: Path, base: Path) -> None:
    """The same as seen from a shell: the exit status, and nothing of third parties on stderr."""

    def run(*argv: object) -> tuple[int, str, str]:
        code = "import sys; from tacit.cli import main; sys.exit(main())"
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, argv)], capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout, done.stderr

    refuses(case, run, work, base)
