"""Damaged, altered or mismatched models and profiles: each refused in one line, before anything is written."""

import base64
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from bad_input import Case, Prepare, altered, cases, copied, file, refuses
from cli_world import PROMPTS, Run
from safetensors.torch import load_file, save_file
from torch import Tensor

EVALUATE = "evaluate model data.jsonl --out out"
INFER = "infer model one.jsonl --out p.json"
SCORE = "score {base}/model --profile profile.json items.jsonl --out s.json"
CONFIGS = ("model/config.json", "model/pooled/config.json")
AGAIN = "copy or train the model again"


def model(*then: Prepare) -> Prepare:
    return copied("model", *then)


def config(change: Callable[[dict[str, Any]], object], folder: str = "model") -> Prepare:
    return model(altered(f"{folder}/config.json", change))


def weights(change: Callable[[dict[str, Tensor]], object]) -> Prepare:
    def prepare(work: Path, base: Path) -> None:
        path = work / "model" / "model.safetensors"
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path)

    return model(prepare)


def removed(name: str) -> Prepare:
    return model(lambda work, base: (work / "model" / name).unlink())


def first_head(tensors: dict[str, Tensor]) -> str:
    return next(name for name in sorted(tensors) if name.startswith("network.") and name.endswith("weight"))


def pooled_from(folder: str) -> Prepare:
    def prepare(work: Path, base: Path) -> None:
        shutil.rmtree(work / "model" / "pooled")
        shutil.copytree(base / folder, work / "model" / "pooled")

    return model(prepare)


@cases(
    ("no folder", EVALUATE, ("model: no such folder", "give the folder `tacit train-reward` wrote")),
    ("no hub name", "infer a/b/c one.jsonl --out p.json", ("a/b/c: no such folder", "or a hub name owner/model")),
    ("hub out of reach", "infer nobody/nothing one.jsonl --out p.json",
     ("no such folder, and the hub did not give it",)),
    ("a file", "infer one.jsonl one.jsonl --out p.json",
     ("no readable config.json", "give the folder `tacit train-reward` wrote")),
    ("a folder of something else", INFER, ("no readable config.json", "give the folder"),
     file("model/thesis.tex", "x")),
    ("no config", EVALUATE, ("no readable config.json", "give the folder"), removed("config.json")),
    ("truncated config", EVALUATE, ("config.json: not complete JSON", AGAIN),
     model(file("model/config.json", lambda b: b[:-30]))),
    ("binary config", EVALUATE, ("config.json: not complete JSON", AGAIN),
     model(file("model/config.json", b"\xff\xfe\x00"))),
    ("endless config", EVALUATE, ("config.json: not complete JSON", AGAIN),
     model(file("model/config.json", "[" * 200_000))),
    ("config a list", EVALUATE, ("kind 'list' where 'np_btl' was expected",), config(lambda c: [c])),
    ("another library's config", INFER, ("kind None where 'np_btl' was expected", "give a folder"),
     file("model/config.json", '{"model_type": "bert"}')),
    ("the control as a model", "evaluate model/pooled data.jsonl --out out",
     ("kind 'btl' where 'np_btl' was expected", "give a folder"), model()),
    ("a model as the control", EVALUATE, ("pooled/config.json: kind 'np_btl' where 'btl' was expected",),
     pooled_from("other")),
    ("another version", EVALUATE, ("version 99, this tacit reads 2", "install the tacit that wrote it"),
     config(lambda c: c.update(version=99))),
    ("no version", EVALUATE, ("version None, this tacit reads 2",), config(lambda c: c.pop("version"))),
    ("an unknown key", EVALUATE, ("config.json: extra", AGAIN), config(lambda c: c.update(extra=1))),
    ("an unknown setting", EVALUATE, ("config.json: reward.extra", AGAIN),
     config(lambda c: c["reward"].update(extra=1))),
    ("a missing key", EVALUATE, ("config.json: salt", AGAIN), config(lambda c: c.pop("salt"))),
    ("temperature 0", EVALUATE, ("config.json: temperature", "greater than 0", AGAIN),
     config(lambda c: c.update(temperature=0))),
    ("temperature NaN", EVALUATE, ("config.json: temperature", AGAIN),
     config(lambda c: c.update(temperature=float("nan")))),
    ("temperature infinite", EVALUATE, ("config.json: temperature", AGAIN),
     config(lambda c: c.update(temperature=float("inf")))),
    ("temperature a word", EVALUATE, ("config.json: temperature", "valid number", AGAIN),
     config(lambda c: c.update(temperature="warm"))),
    ("size 0", EVALUATE, ("config.json: dim", AGAIN), config(lambda c: c.update(dim=0))),
    ("size beyond memory", EVALUATE, ("config.json", "dim", AGAIN), config(lambda c: c.update(dim=10**15))),
    ("another architecture", EVALUATE, ("tensors do not fit config.json", AGAIN),
     config(lambda c: c["reward"].update(latent=5))),
    ("another head", EVALUATE, ("tensors do not fit config.json", AGAIN),
     config(lambda c: c.update(reward={"encoder": {"kind": "additive", "evidence": "network"}, "head": "mlp"}))),
    ("a head that does not fit", EVALUATE, ("config.json: reward", "reads the reward of a bilinear head", AGAIN),
     config(lambda c: c["reward"].update(head="mlp"))),
    ("no weights", EVALUATE, ("model.safetensors: not a complete safetensors file", AGAIN),
     removed("model.safetensors")),
    ("truncated weights", EVALUATE, ("not a complete safetensors file", AGAIN),
     model(file("model/model.safetensors", lambda b: b[:-8]))),
    ("truncated header", EVALUATE, ("not a complete safetensors file", AGAIN),
     model(file("model/model.safetensors", lambda b: b[:50]))),
    ("empty weights", EVALUATE, ("not a complete safetensors file", AGAIN),
     model(file("model/model.safetensors", b""))),
    ("a pickle", EVALUATE, ("not a complete safetensors file", AGAIN),
     model(file("model/model.safetensors", b"\x80\x04\x95" * 99))),
    ("a missing tensor", EVALUATE, ("tensors do not fit", "Missing key", AGAIN),
     weights(lambda t: t.pop(first_head(t)))),
    ("an extra tensor", EVALUATE, ("tensors do not fit", "Unexpected key", AGAIN),
     weights(lambda t: t.update(more=torch.zeros(1)))),
    ("a tensor of another shape", EVALUATE, ("tensors do not fit", "size mismatch", AGAIN),
     weights(lambda t: t.update({first_head(t): torch.zeros(2, 2)}))),
    ("NaN weights", EVALUATE, ("holds NaN or infinite weights", "train the model again"),
     weights(lambda t: t[first_head(t)].fill_(torch.nan))),
    ("infinite weights", INFER, ("holds NaN or infinite weights", "train the model again"),
     weights(lambda t: t[first_head(t)].fill_(torch.inf))),
    ("no memory of training", EVALUATE, ("tensors do not fit", "seen.users", AGAIN),
     weights(lambda t: t.pop("seen.users"))),
    ("memory of another kind", EVALUATE, ("tensors do not fit", "seen", AGAIN),
     weights(lambda t: t.update({"seen.users": torch.zeros(2, 2)}))),
    ("truncated control", EVALUATE, ("pooled/model.safetensors: not a complete safetensors file", AGAIN),
     model(file("model/pooled/model.safetensors", lambda b: b[:-8]))),
    ("another model's control", EVALUATE,
     ("pooled: this control was trained on other item vectors", "delete it, or train both again"),
     pooled_from("vmodel/pooled")),
    ("another embedder", EVALUATE,
     ("embedder 'hash' is not the one this model was trained with", "restore the old one or train again"),
     model(*(altered(name, lambda c: c["embedder"].update(fingerprint="0")) for name in CONFIGS))),
    ("another embedder, to infer", INFER,
     ("embedder 'hash' is not the one this model was trained with", "restore the old one or train again"),
     config(lambda c: c["embedder"].update(fingerprint="0"))),
    ("a wider embedder", INFER, ("is not the one this model was trained with", "restore the old one or train again"),
     config(lambda c: c["embedder"].update(spec={"name": "hash", "dim": 600}, fingerprint="hash-1-600"))),
    ("an embedder that is gone", INFER, ("no model folder at './gone'", "give an existing folder"),
     config(lambda c: c["embedder"].update(spec={"name": "./gone"}))),
    ("an embedder with odd settings", INFER, ("names its embedder by {'name': 'hash', 'colour': 1}", AGAIN),
     config(lambda c: c["embedder"].update(spec={"name": "hash", "colour": 1}))),
    ("an embedder that is a number", INFER, ("names its embedder by {'name': 3}", AGAIN),
     config(lambda c: c["embedder"].update(spec={"name": 3}))),
    ("no embedder", INFER, ("trained on bare vectors", "give it vectors"),
     config(lambda c: c.update(embedder=None))),
)  # fmt: skip
def test_models(case: Case, run: Run, work: Path, base: Path) -> None:
    refuses(case, run, work, base)


def numbers(*values: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(values)}d", *values)).decode()


def profile(change: Callable[[dict[str, Any]], object]) -> Prepare:
    return altered("profile.json", change)


MAKE = "make it again with `tacit infer`"
NUMBERS = PROMPTS * 5  # evidence of as many choices, of latent size 4


@cases(
    ("missing", SCORE.replace("profile.json", "none.json"), ("none.json does not exist", "make it with `tacit infer`")),
    ("a folder", SCORE.replace("profile.json", "d"), ("d does not exist", "make it with"), lambda work,
     base: (work / "d").mkdir()),
    ("empty", SCORE, ("profile.json: the profile is not complete JSON", MAKE), file("profile.json", "")),
    ("truncated", SCORE, ("profile.json: the profile is not complete JSON", MAKE),
     file("profile.json", lambda b: b[: len(b) // 2])),
    ("no JSON", SCORE, ("not complete JSON", MAKE), file("profile.json", "z = 3")),
    ("binary", SCORE, ("profile.json: not a text file", MAKE),
     file("profile.json", b"\x80\x81\xff")),
    ("endless", SCORE, ("not complete JSON", MAKE), file("profile.json", "[" * 200_000)),
    ("a list", SCORE, ("no profile", "JSON object", MAKE), profile(lambda p: [p])),
    ("choices instead", SCORE.replace("profile.json", "one.jsonl"), ("not complete JSON", MAKE)),
    ("another schema", SCORE, ("profile schema 2 where this version reads 1", MAKE),
     profile(lambda p: p.update(schema=2))),
    ("no schema", SCORE, ("profile schema None", MAKE), profile(lambda p: p.pop("schema"))),
    ("an extra key", SCORE, ("missing or unknown keys ['name']", MAKE), profile(lambda p: p.update(name="x"))),
    ("a missing key", SCORE, ("missing or unknown keys ['clock']", MAKE), profile(lambda p: p.pop("clock"))),
    ("NaN evidence", SCORE, ("the profile is damaged", "not finite", MAKE),
     profile(lambda p: p.update(evidence=numbers(*NUMBERS * [float("nan")])))),
    ("cut evidence", SCORE, ("the profile is damaged", MAKE),
     profile(lambda p: p.update(evidence=p["evidence"][:-12]))),
    ("evidence that is no text", SCORE, ("the profile is damaged", MAKE), profile(lambda p: p.update(evidence=[1, 2]))),
    ("another shape", SCORE, ("the profile is damaged", MAKE), profile(lambda p: p.update(shape=[1, 3]))),
    ("several sums", SCORE, ("the profile is damaged", "weights that no state of its kind has", MAKE),
     profile(lambda p: p.update(kind="sum"))),
    ("clock NaN", SCORE, ("the profile is damaged", MAKE), profile(lambda p: p.update(clock=float("nan")))),
    ("weight below 0", SCORE, ("the profile is damaged", "weights that no state of its kind has", MAKE),
     profile(lambda p: p.update(weight=numbers(*PROMPTS * [-1])))),
    ("half-life of another model", SCORE, ("half", "infer it again"), profile(lambda p: p.update(half_life=60.0))),
    ("another model's", SCORE.replace("profile.json", "other.json"),
     ("made by model", "not by this one", "infer it again from the choices")),
    ("another model's name", SCORE, ("made by model 0123", "infer it again from the choices"),
     profile(lambda p: p.update(encoder="0123"))),
    ("another kind of state", SCORE, ("infer it again",),
     profile(lambda p: p.update(kind="sum", shape=[1, 5], evidence=numbers(*5 * [1.0]), weight=numbers(1)))),
    ("fewer numbers than the model's", SCORE, ("infer it again",),
     profile(lambda p: p.update(shape=[1, 2], evidence=numbers(1, 1), weight=numbers(1)))),
    ("numbers too large", SCORE, ("damaged", "infer it again"),
     profile(lambda p: p.update(evidence=numbers(*PROMPTS * [1e300, 1e300, 1e300, 1e300, 0.0])))),
)  # fmt: skip
def test_profiles(case: Case, run: Run, work: Path, base: Path) -> None:
    refuses(case, run, work, base)
