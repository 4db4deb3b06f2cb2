"""Writes one small example of every kind of saved file, under the number of its schema:

    PYTHONPATH=tests python tests/kept/make.py

Run it once after a schema gets a new number. What is there already is never made again: older folders are what people
have, and the readers must go on reading them.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from moved_policy import moved
from tiny_base import save_base

from tacit.baselines import adaptive
from tacit.baselines.lore import LoRe, LoReConfig, LoReNetwork
from tacit.embedders import ItemStore, resolve_embedder
from tacit.embedders.rows import Header
from tacit.encoders import state
from tacit.engines import load_base
from tacit.episodes import ChoiceBatch
from tacit.rewards import EmbedderReference, RewardConfig, RewardModel, storage
from tacit.rewards.config import HeadPart
from tacit.rewards.network import RewardNetwork
from tacit.steering import PolicyConfig, SteerablePolicy
from tacit.steering import policy as policies
from tacit.steering.config import ModulatorPart
from tacit.steering.policy import BaseReference
from tacit.users.profiles import read_profile
from tacit.users.user import User

HERE = Path(__file__).parent
BOOK = HERE / "expected.json"
DIM, LATENT = 64, 2
PROMPT, ANSWERS = "How do I boil an egg?", ["Seven minutes, then cold water.", "It depends!"]
ROWS = [{"prompt": PROMPT, "chosen": ANSWERS[0], "rejected": ANSWERS[1], "timestamp": 1.0}]


def make_reward(place: Path) -> None:
    """Random weights over hashed texts."""
    config = RewardConfig(members=1, latent=LATENT, head=HeadPart(kind="bilinear", hidden=(4,)))
    embedder = EmbedderReference.of(resolve_embedder("hash", dim=DIM))
    torch.manual_seed(0)
    RewardModel(RewardNetwork(DIM, config).eval(), 1.5, embedder, notes={"steps": 0}).save(place)


def say_reward(place: Path) -> dict[str, Any]:
    """The fingerprint, on which profiles depend, and what somebody of one choice makes of the answers."""
    model = RewardModel.load(place)
    return {"fingerprint": model.fingerprint, "score": scores(model.user(ROWS))}


def make_profile(place: Path) -> None:
    """One user of the newest reward model."""
    user = RewardModel.load(newest("reward")).user([row | {"user_id": "ann"} for row in ROWS])
    user.save(place)


def make_profiles(place: Path) -> None:
    """A file of users, with one in it."""
    RewardModel.load(newest("reward")).users([row | {"user_id": "ann"} for row in ROWS]).save(place)


def say_profile(place: Path) -> dict[str, Any]:
    """Whose it is, and what they make of the answers under the model that made it."""
    made_by = read_profile(place)[1].fingerprint
    model = next(model for model in map(RewardModel.load, HERE.glob("reward-*")) if model.fingerprint == made_by)
    user = model.load_user(place)
    return {"id": user.id, "choices": user.choices, "score": scores(user)}


def make_policy(place: Path) -> None:
    """A policy on a base of two blocks, which is not kept."""
    reward = RewardModel.load(newest("reward"))
    config = PolicyConfig(modulator=ModulatorPart(kind="gated_lora", rank=1, targets=("q_proj",)))
    with TemporaryDirectory() as folder:
        policy = moved(SteerablePolicy.new(load_base(str(save_base(Path(folder)))), reward, config))
    replace(policy, base=BaseReference("a-tiny-base", "0" * 16)).save(place)


def say_policy(place: Path) -> dict[str, Any]:
    """Its sites, with what it adds to each for one z."""
    policy = SteerablePolicy.load(place)
    folded = policy.fold(torch.ones(1, policy.modulator.latent))
    return {site: (b @ a).sum().item() for site, (a, b) in folded.items()}


def make_baseline(place: Path) -> None:
    """A published method."""
    torch.manual_seed(0)
    LoRe(LoReNetwork(DIM, LoReConfig(rank=2), 3).eval()).save(place)


def say_baseline(place: Path) -> dict[str, Any]:
    """The rewards of somebody without a choice."""
    model = LoRe.load(place)
    return {"reward": model.score(model.infer(ChoiceBatch.empty(1, model.dim)), torch.eye(model.dim)[:3])[0].tolist()}


def make_store(place: Path) -> None:
    """Embedded texts."""
    embedder = resolve_embedder("hash", dim=DIM)
    ItemStore.open(place, embedder).add([(PROMPT, answer) for answer in ANSWERS], embedder)


def say_store(place: Path) -> dict[str, Any]:
    """Its vectors, summed."""
    return {"sum": ItemStore.open(place)[torch.arange(len(ANSWERS))].sum(1).tolist()}


def scores(user: User) -> dict[str, float]:
    """What a user makes of the answers."""
    return {answer.text: answer.score for answer in user.score(PROMPT, ANSWERS)}


class Kind(NamedTuple):
    """A kind of saved file: the number of its schema, how an example is made, and what reading it says."""

    version: int
    suffix: str
    make: Callable[[Path], None]
    say: Callable[[Path], dict[str, Any]]


KINDS = {
    "reward": Kind(storage.VERSION, "", make_reward, say_reward),
    "profile": Kind(state.SCHEMA, ".json", make_profile, say_profile),
    "profiles": Kind(state.SCHEMA, ".parquet", make_profiles, say_profile),
    "policy": Kind(policies.VERSION, "", make_policy, say_policy),
    "baseline": Kind(adaptive.VERSION, "", make_baseline, say_baseline),
    "store": Kind(Header.model_fields["version"].default, "", make_store, say_store),
}


def newest(kind: str) -> Path:
    """Where the example of this kind and of the present schema lies."""
    return HERE / f"{kind}-{KINDS[kind].version}{KINDS[kind].suffix}"


def main() -> None:
    """Make what is missing, and write down what each says."""
    expected = json.loads(BOOK.read_text()) if BOOK.exists() else {}
    for name, kind in KINDS.items():
        place = newest(name)
        if not place.exists():
            kind.make(place)
            expected[place.name] = kind.say(place)
    BOOK.write_text(json.dumps(expected, indent=2) + "\n")


if __name__ == "__main__":
    main()
