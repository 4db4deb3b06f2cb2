"""One seed of the experiment: the world, the reward model trained on it, and the strangers who judge."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from tacit.choices.splits import cut, split_groups, split_users
from tacit.embedders import resolve_embedder
from tacit.embedders.table import item_vectors
from tacit.engines import TransformersEngine
from tacit.errors import ConfigError
from tacit.evaluation.episodes import EvaluationEpisodes, evaluation_episodes
from tacit.events import Listener
from tacit.policies.base_log_probs import reference_log_probs
from tacit.policies.implicit_reward import implicit_choices
from tacit.policies.latents import choice_evidence, context_latents
from tacit.policies.pairs import tokenise
from tacit.training.config import TrainingConfig
from tacit.workflows.reward import TrainedReward, train_reward, training_parts
from tacit.worlds.text import ATTRIBUTES, TextWorld, calibrate_scale
from tacit_experiments.steering.observer import bayes_observer
from tacit_experiments.steering.setting import Setting

__all__ = ["KS", "SteeringWorld"]

KS = (0, 1, 5, 10, 20)
ORACLE_ACCURACY = 0.875  # as TextWorld has it
OPPOSED = {"length": 1.0, "warmth": 2.0}


class SteeringWorld:
    """Known people on known prompts train; strangers choose there too, and judge answers to prompts nobody has seen.

    Attributes:
        world: texts and people. trained: the reward model, from `known` choices.
        items, vectors: of all texts, as the reward model reads them; known_items, known_vectors: of training.
        known, strangers: numbers in the world of the users of `parts` and of `index`, Int64[users].
        context: Int64[judges choices], rows of `index`. tastes: Float32[judges attributes], in nats.
        prompts: everything that may be asked; questions: what each judge asks.
    """

    def __init__(self, seed: int, setting: Setting, on_event: Listener | None = None) -> None:
        self.seed, self.setting, self.on_event = seed, setting, on_event
        self.world = _world(seed, setting)
        table, reader = self.world.table, resolve_embedder("hash")
        self.items, self.vectors = table.item_texts(), item_vectors(table, reader)
        known_users, new_users = split_users(table, (0.8, 0.2), seed=seed)
        known_prompts, new_prompts = split_groups(table, (0.8, 0.2), seed=seed)
        known = cut(table, known_users, known_prompts).table
        self.known_items, self.known_vectors = known.item_texts(), item_vectors(known, reader)
        self.parts, self.known = training_parts(known, seed), _numbers(known.users.to_pylist())
        self.trained: TrainedReward = train_reward(
            known, self.known_vectors, embedder=reader, on_event=on_event,
            training=TrainingConfig(seed=seed, steps=setting.reward_steps, validate_every=50, patience=6),
        )  # fmt: skip
        strangers = table.of_users(new_users)
        self.index = strangers.index()
        self.is_new = torch.zeros(table.n_prompts, dtype=torch.bool)
        self.is_new[new_prompts] = True
        episodes = self._episodes(50)
        enough = (episodes.n_context >= max(KS)).nonzero().squeeze(1)[: setting.judges]
        if len(enough) < 2:
            raise ConfigError(f"only {len(enough)} strangers have {max(KS)} choices; ask for more users or choices")
        self.context = episodes.context[enough]
        self.strangers = _numbers(strangers.users.to_pylist())
        self.tastes = self.world.weights[self.strangers[episodes.users[enough]]]
        self.prompts = [table.prompts[int(prompt)].as_py() for prompt in new_prompts]
        rng, count = np.random.default_rng([seed, 7]), min(setting.questions, len(self.prompts))
        drawn = [rng.choice(len(self.prompts), count, replace=False) for _ in enough]
        self.questions = [[self.prompts[i] for i in some] for some in drawn]

    def latents(self, k: int, *, shuffled: int = 0) -> Tensor:
        """What the reward model infers of each judge from k choices of theirs, or of whoever is `shuffled` before."""
        evidence = choice_evidence(self.trained.model, self.index, self.vectors)
        context = self.context.roll(shuffled, 0)
        return context_latents(self.trained.model, self.index, evidence, context[:, :k])

    def believed(self, k: int) -> Tensor:
        """Tastes in nats that the Bayes-optimal observer expects of each judge after k choices."""
        pairs = self.index.items[self.context[:, :k]]
        ids = self.world.locate([self.items[i] for i in pairs.flatten().tolist()]).view(*pairs.shape)
        gaps = self.world.attributes[ids[..., 0]] - self.world.attributes[ids[..., 1]]
        return bayes_observer(gaps, self.world.scale, seed=self.seed)

    def accuracy(self, engine: TransformersEngine, ks: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Implicit-reward accuracy on strangers' choices about new prompts, Float64[ks users], and their tastes."""
        episodes = self._episodes(8)
        used = torch.zeros(len(self.items), dtype=torch.bool)
        used[episodes.targets[episodes.real]] = True
        rows, _ = tokenise(engine.dialogue, self.items, used)
        reference, reward = reference_log_probs(engine, rows), self.trained.model
        evidence = choice_evidence(reward, self.index, self.vectors)
        found = implicit_choices(engine, reward, episodes, evidence, rows, reference, ks).accuracy()
        return found, self.world.weights[self.strangers[episodes.users]]

    def _episodes(self, targets: int) -> EvaluationEpisodes:
        return evaluation_episodes(
            self.index, max_k=max(KS), max_targets=targets, target_groups=self.is_new, seed=self.seed
        )


def _world(seed: int, setting: Setting) -> TextWorld:
    world = TextWorld.generate(
        seed, n_users=setting.users, choices_per_user=setting.choices_per_user,
        responses_per_prompt=setting.answers_per_prompt,
    )  # fmt: skip
    if setting.people == "sphere":
        return world
    axis = torch.tensor([OPPOSED.get(name, 0.0) for name in ATTRIBUTES])
    side = 1.0 - 2.0 * (torch.arange(setting.users) % 2)
    unit = side.unsqueeze(1) * axis / axis.norm()
    everywhere, rng = torch.arange(len(world.prompts)), np.random.default_rng([seed, 9])
    gaps = world.attributes[world.pairs[..., 0]] - world.attributes[world.pairs[..., 1]]
    scale = calibrate_scale(torch.einsum("uca,ua->uc", gaps, unit).double().numpy().ravel(), ORACLE_ACCURACY)
    pairs = world.draw_choices(scale * unit, everywhere, setting.choices_per_user, rng)
    return replace(world, weights=scale * unit, scale=scale, pairs=pairs)


def _numbers(users: list[str]) -> Tensor:
    return torch.tensor([int(name.removeprefix("user-")) for name in users])
