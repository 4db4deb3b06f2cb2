"""Does a policy follow people? The text world's strangers get answers to new questions, and their true taste judges.

Beside NP-DPO stand: the base; DPO for everybody (a policy told nothing); a policy of the same size and budget told the
true tastes, and that policy fed with what a Bayes-optimal observer of the same choices would believe. The observer
knows the world: how tastes are spread, how noisy choices are, and each answer's true attributes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tacit.choices.index import ChoiceIndex
from tacit.choices.splits import cut, split_groups, split_users
from tacit.embedders import resolve_embedder
from tacit.errors import ConfigError
from tacit.evaluation.bootstrap import mean_intervals
from tacit.evaluation.episodes import EvaluationEpisodes, evaluation_episodes
from tacit.policies import ModulatorConfig, PolicyConfig, PolicyTrainingConfig, Sampling, SteerablePolicy, load_base
from tacit.policies.fit import choice_evidence, fit_policy
from tacit.policies.outcomes import Health, answers_for, language_health, steering_efficiency
from tacit.policies.pairs import context_latents
from tacit.recipes.items import item_vectors
from tacit.recipes.reward import TrainedReward, train_reward, training_parts
from tacit.training.config import TrainingConfig
from tacit.training.loop import Event
from tacit.worlds.text import ATTRIBUTES, TextWorld, draw_directions
from tacit.worlds.text.base_model import text_base
from tacit.worlds.text.reader import read_answer

__all__ = ["Outcome", "Setting", "SteeringWorld", "bayes_observer"]

KS = (0, 1, 3, 5, 10, 20)


@dataclass(frozen=True)
class Setting:
    """How large the experiment is."""

    users: int = 1400
    choices_per_user: int = 40
    reward_steps: int = 600
    judges: int = 150
    questions: int = 3
    sampling: Sampling = field(default_factory=lambda: Sampling(max_new_tokens=320))
    training: PolicyTrainingConfig = field(default_factory=PolicyTrainingConfig)


@dataclass(frozen=True)
class Outcome:
    """What came of one method at one k.

    Shapes:
        gold: Float32[users], mean true reward of a user's answers in nats.
        attributes: Float32[users attributes], means over a user's answers, standardised.
        malformed: share of sentences that the world's writer would not have written.
    """

    gold: Tensor
    attributes: Tensor
    health: Health
    malformed: float
    answers: list[list[str]]


class SteeringWorld:
    """One seed of the experiment: the world, the reward model trained on it, and the strangers who judge."""

    def __init__(self, seed: int, setting: Setting, on_event: Callable[[Event], None] | None = None) -> None:
        self.seed, self.setting, self.on_event = seed, setting, on_event
        self.world = TextWorld.generate(
            seed, n_users=setting.users, choices_per_user=setting.choices_per_user, responses_per_prompt=8
        )
        table = self.world.table
        reader = resolve_embedder("hash")
        self.vectors = item_vectors(table, reader)
        known_users, new_users = split_users(table, (0.8, 0.2), seed=seed)
        known_prompts, new_prompts = split_groups(table, (0.8, 0.2), seed=seed)
        known = cut(table, known_users, known_prompts).table
        self.items, self.parts = known.item_texts(), training_parts(known, seed)
        self.known_vectors = item_vectors(known, reader)
        self.known_numbers = _numbers(known.users.to_pylist())
        self.trained: TrainedReward = train_reward(
            known, self.known_vectors, embedder=reader, on_event=on_event,
            training=TrainingConfig(seed=seed, steps=setting.reward_steps, validate_every=50, patience=6),
        )  # fmt: skip
        strangers = table.of_users(new_users)
        is_new = torch.zeros(table.n_prompts, dtype=torch.bool)
        is_new[new_prompts] = True
        self.index: ChoiceIndex = strangers.index()
        episodes = evaluation_episodes(self.index, max_k=max(KS), target_groups=is_new, seed=seed)
        enough = (episodes.n_context >= max(KS)).nonzero().squeeze(1)[: setting.judges]
        if len(enough) < 2:
            raise ConfigError(f"only {len(enough)} strangers have {max(KS)} choices; ask for more users or choices")
        self.episodes: EvaluationEpisodes = episodes
        self.judges, self.context = enough, episodes.context[enough]
        self.numbers = _numbers(strangers.users.to_pylist())[episodes.users[enough]]
        self.tastes = self.world.weights[self.numbers]
        asked = [self.world.prompts[i] for i in _prompt_numbers(self.world, table, new_prompts)]
        rng = np.random.default_rng([seed, 7])
        self.questions = [
            [asked[i] for i in rng.choice(len(asked), min(setting.questions, len(asked)), replace=False)]
            for _ in range(len(enough))
        ]

    # -- policies ------------------------------------------------------------------------------------------------------

    def train(self, folder: Path, *, kind: str = "gated_lora", told: str | None = None) -> SteerablePolicy:
        """A policy that infers (`told` None), that is told the `truth`, or told `nothing`."""
        config = PolicyConfig(modulator=ModulatorConfig.model_validate({"kind": kind}))
        known = None
        if told is not None:
            tastes = self.world.weights[self.known_numbers] / self.world.scale
            one = tastes if told == "truth" else torch.zeros(len(tastes), 1)
            known = (one, one)
        return fit_policy(
            load_base(str(text_base())), self.trained.model, self.items, self.known_vectors, self.parts.train,
            self.parts.validation, folder=folder, target_groups=self.parts.target_groups, config=config,
            training=self.setting.training, told=known, on_event=self.on_event,
        )  # fmt: skip

    def latents(self, k: int, *, shuffled: bool = False) -> Tensor:
        """What the reward model infers of each judge from k choices, or (`shuffled`) from another judge's."""
        evidence = choice_evidence(self.trained.model, self.index, self.vectors)
        context = self.context.roll(1, 0) if shuffled else self.context
        return context_latents(self.trained.model, self.index, evidence, context[:, :k])

    def believed(self, k: int) -> Tensor:
        """Tastes that the Bayes-optimal observer expects after k choices, in the units of the told policy."""
        pairs = self.index.items[self.context[:, :k]]
        ids = self.world.locate([self.world.table.item(int(i)) for i in pairs.flatten()]).view(*pairs.shape)
        gaps = self.world.attributes[ids[..., 0]] - self.world.attributes[ids[..., 1]]
        return bayes_observer(gaps, self.world.scale, seed=self.seed) / self.world.scale

    # -- judging -------------------------------------------------------------------------------------------------------

    def judge(self, policy: SteerablePolicy, z: Tensor | None) -> Outcome:
        """Answers to the judges' questions as z says (None: the base's own), and what they are worth."""
        sampling = self.setting.sampling.model_copy(update={"seed": 1000 * self.seed})
        answers = answers_for(policy, self.questions, z, sampling)
        attributes = torch.stack([
            torch.cat([self.world.measure(q, [a]) for q, a in zip(asked, said, strict=True)]).mean(0)
            for asked, said in zip(self.questions, answers, strict=True)
        ])  # fmt: skip
        flat = [(q, a) for asked, said in zip(self.questions, answers, strict=True)
                for q, a in zip(asked, said, strict=True)]  # fmt: skip
        readings = [read_answer(question, answer) for question, answer in flat]
        sentences = sum(r.malformed + r.found.get("statement", 0) + _devices(r.found) for r in readings)
        return Outcome(
            gold=(attributes * self.tastes).sum(1),
            attributes=attributes,
            health=language_health(policy, [q for q, _ in flat], [a for _, a in flat]),
            malformed=sum(r.malformed for r in readings) / max(1, sentences),
            answers=answers,
        )

    def directions(self, steered: Outcome, plain: Outcome) -> dict[str, float]:
        """By attribute and sign, how far answers move that way for the people who want it most (half of the norm)."""
        unit = self.tastes / self.tastes.norm(dim=1, keepdim=True)
        moved = steered.attributes - plain.attributes
        found = {}
        for place, name in enumerate(ATTRIBUTES):
            for sign, word in ((1, "more"), (-1, "less")):
                who = sign * unit[:, place] > 0.5
                if who.any():
                    found[f"{word} {name}"] = float(sign * moved[who, place].mean())
        return found


def bayes_observer(gaps: Tensor, scale: float, *, draws: int = 20_000, seed: int = 0) -> Tensor:
    """E[weights | choices] of somebody whose tastes are uniform on a sphere: Float32[users attributes].

    By importance sampling from the prior; `gaps`, Float[users choices attributes], are chosen less rejected.
    """
    rng = np.random.default_rng([seed, 8])
    drawn = torch.from_numpy(scale * draw_directions("sphere", draws, gaps.shape[-1], rng)).float()
    found = []
    for some in gaps.split(16):
        fit = torch.nn.functional.logsigmoid(torch.einsum("uca,da->udc", some, drawn)).sum(-1)
        found.append(fit.softmax(1) @ drawn)
    return torch.cat(found)


def summary(
    gold: Mapping[str, Mapping[int, Tensor]], unsteered: Tensor, told: Tensor
) -> dict[str, dict[str, dict[str, Any]]]:
    """By method and k: mean gold reward with interval, and steering efficiency with interval."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for method, by_k in gold.items():
        rows = torch.stack(list(by_k.values()))
        ratio, ratio_interval = steering_efficiency(rows, unsteered, told)
        interval = mean_intervals(rows)
        found[method] = {
            str(k): {
                "gold": float(rows[place].mean()),
                "interval": interval[place].tolist(),
                "efficiency": float(ratio[place]),
                "efficiency_interval": ratio_interval[place].tolist(),
            }
            for place, k in enumerate(by_k)
        }
    return found


def _numbers(users: list[str]) -> Tensor:
    return torch.tensor([int(name.removeprefix("user-")) for name in users])


def _prompt_numbers(world: TextWorld, table: Any, prompts: Tensor) -> list[int]:
    place = {prompt: number for number, prompt in enumerate(world.prompts)}
    return [place[table.prompts[int(prompt)].as_py()] for prompt in prompts]


def _devices(found: Mapping[str, int]) -> int:
    whole = ("opener", "closer", "aside", "joke", "joke_tag", "thorough")
    return sum(count for name, count in found.items() if name.endswith(whole))
