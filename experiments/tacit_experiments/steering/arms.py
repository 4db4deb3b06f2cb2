"""The policies that are compared: all of one modulator and one budget, and different in what they are told."""

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from tacit.choices.index import ChoiceIndex
from tacit.embedders import resolve_embedder
from tacit.embedders.table import text_vectors
from tacit.engines import TransformersEngine, load_base
from tacit.episodes import step_generator
from tacit.policies import fit_policy
from tacit.policies.latents import choice_evidence, user_latents
from tacit.policies.teacher import Rewards, inferred_rewards
from tacit.steering import PolicyConfig
from tacit.worlds.text.base_model import text_base
from tacit_experiments.steering.setting import NAT
from tacit_experiments.steering.world import SteeringWorld

__all__ = ["ARMS", "Arm", "Types", "find_types", "train_arm"]

Arm = Literal["inferred", "choices", "nothing", "types", "truth"]
ARMS = get_args(Arm)
"""inferred: ours, taught by the reward model. choices: ours, taught by single choices (NP-DPO as published). nothing:
DPO for everybody. types: one-hot types, taught by what each type's middle wants. truth: true tastes, and taught by
them."""
_SHARED = {"gated_lora": ("rank", "alpha", "targets", "blocks"), "film": ("blocks",), "soft_token": ()}
"""Settings of a gated LoRA that another kind of modulator has too."""
SOFT_TOKEN_RATE = 0.03
"""Of the soft token's one vector; no other was tried here. FiLM has everybody's: on seed 0, rates of 0.002,
0.006 and 0.02 give gold rewards of 1.44, 1.54 and 1.53 at k = 10 (standard errors of 0.16)."""


@dataclass(frozen=True)
class Types:
    """Kinds of users, found by k-means among what is inferred of training users.

    Shapes: centres Float32[types latent]; of_user Int64[users]; spread: mean squared distance to one's own centre.
    """

    centres: Tensor
    of_user: Tensor
    spread: float

    def nearest(self, z: Tensor) -> Tensor:
        """The type of each z, Float[users latent], as Float32[users types], one of them 1."""
        return one_hot(torch.cdist(z, self.centres).argmin(1), len(self.centres)).float()

    def shares(self, z: Tensor) -> Tensor:
        """How probable each type is if users of a type are spread normally around its centre: Float32[users types]."""
        scale = self.spread / self.centres.shape[1]
        return (-torch.cdist(z, self.centres).square() / (2 * scale)).softmax(1)


def find_types(world: SteeringWorld, count: int = 8) -> Types:
    """Types of the training users; validation users are put with the nearest."""
    train = _known(world, world.parts.train)
    there = world.parts.train.counts > 0
    known = train[there]
    generator = step_generator(world.seed, 406)
    centres = known[torch.randperm(len(known), generator=generator)[:count]]
    for _ in range(30):
        own = torch.cdist(known, centres).argmin(1)
        centres = torch.stack([
            known[own == kind].mean(0) if (own == kind).any() else centres[kind] for kind in range(count)
        ])  # fmt: skip
    z = torch.where(there.unsqueeze(1), train, _known(world, world.parts.validation))
    spread = torch.cdist(known, centres).amin(1).square().mean()
    return Types(centres, torch.cdist(z, centres).argmin(1), float(spread))


def train_arm(
    world: SteeringWorld,
    folder: Path,
    arm: Arm,
    *,
    kind: str = "gated_lora",
    types: Types | None = None,
    written: int = 0,
) -> TransformersEngine:
    """One policy, ready to answer; `kind` is its modulator's, and the base writes `written` answers to prompts of few.

    The base's log-probabilities are kept in `folder` for the next.
    """
    setting, (told, rewards) = world.setting, _told(world, arm, types)
    known = setting.policy.modulator.settings.model_dump()
    shared = {name: value for name, value in known.items() if name in _SHARED[kind]}
    config = PolicyConfig.model_validate(setting.policy.model_dump() | {"modulator": shared | {"kind": kind}})
    teacher = "choices" if arm in ("choices", "nothing") else "reward"
    changed: dict[str, Any] = {"teacher": teacher, "seed": world.seed, "written": written}
    if kind == "soft_token":
        changed["learning_rate"] = SOFT_TOKEN_RATE
    own = folder / f"{arm}-{kind}-{written}"
    own.mkdir(parents=True)
    kept = folder / "reference.safetensors"
    if kept.exists():
        shutil.copy(kept, own / kept.name)
    base = load_base(str(text_base()))
    policy = fit_policy(
        base, world.trained.model, world.known_items, world.known_vectors, world.parts.train,
        world.parts.validation, folder=own, target_groups=world.parts.target_groups,
        config=config,
        training=setting.training.model_copy(update=changed),
        told=None if told is None else (told, told), rewards=None if rewards is None else (rewards, rewards),
        embed=partial(text_vectors, embedder=resolve_embedder("hash")), on_event=world.on_event,
    )  # fmt: skip
    shutil.copy(own / kept.name, kept)
    return TransformersEngine(base, policy)


def _told(world: SteeringWorld, arm: Arm, types: Types | None) -> tuple[Tensor | None, Rewards | None]:
    """Z of all known users and the rewards that teach; None where they are inferred."""
    if arm == "nothing":
        return torch.zeros(len(world.known), 1), None
    if arm == "truth":
        tastes, scale = world.world.weights[world.known], world.world.scale
        attributes = world.world.attributes[world.world.locate(world.known_items)]
        return (
            tastes / scale,
            lambda users, items, z: NAT * torch.einsum("nai,ni->na", attributes[items], tastes[users]),
        )
    if arm == "types":
        found = types or find_types(world)
        rewards, centres = inferred_rewards(world.trained.model, world.known_vectors), found.centres[found.of_user]
        return one_hot(found.of_user, len(found.centres)).float(), lambda users, items, z: rewards(
            users, items, centres[users]
        )
    return None, None


def _known(world: SteeringWorld, index: ChoiceIndex) -> Tensor:
    """What is inferred of each user of an index from all their choices there, Float32[users latent]."""
    model = world.trained.model
    return user_latents(model, index, choice_evidence(model, index, world.known_vectors))
