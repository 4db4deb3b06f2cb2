"""The text world: readable answers with visible attributes, and people who choose between them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from tacit.choices import Choice, ChoiceTable
from tacit.errors import ConfigError
from tacit.worlds.text.people import Users, calibrate_scale, draw_directions, draw_pairs
from tacit.worlds.text.reader import read_answer
from tacit.worlds.text.style import ATTRIBUTES, Style, describe
from tacit.worlds.text.topics import Prompt, load_prompts
from tacit.worlds.text.writer import write

__all__ = ["TextWorld"]

CALIBRATION_PAIRS = 5_000


@dataclass(frozen=True, eq=False)
class TextWorld:
    """Prompts, answers, people and their choices.

    A person values an answer at `weights . attributes` and chooses between two answers to one prompt by
    Bradley-Terry-Luce. Attributes are what the generator knows of the text, standardised over all items: `length` is
    the logarithm of the word count, the others are the settings of `Style`.

    Shapes:
        prompts: the questions.
        items: (prompt, response) of every item; the responses to one prompt stand together.
        prompt_of: Int64[items], position in `prompts`.
        attributes: Float32[items attributes], zero mean and unit variance, axes named by `ATTRIBUTES`.
        weights: Float32[users attributes], nats per standard deviation; all of one norm, `scale`.
        pairs: Int64[users choices 2], item ids, the chosen one first.
        centre, spread: Float32[attributes], by which raw attributes were standardised.
    """

    prompts: tuple[str, ...]
    items: tuple[tuple[str, str], ...]
    prompt_of: Tensor
    attributes: Tensor
    weights: Tensor
    pairs: Tensor
    scale: float
    centre: Tensor
    spread: Tensor

    @classmethod
    def generate(
        cls,
        seed: int = 0,
        *,
        n_prompts: int = 130,
        responses_per_prompt: int = 16,
        n_users: int = 2_000,
        choices_per_user: int = 30,
        oracle_accuracy: float = 0.875,
        users: Users = "sphere",
    ) -> "TextWorld":
        """Everything from one seed. Texts do not depend on the users, nor users on how much they choose.

        Args:
            seed: any non-negative integer.
            n_prompts: how many of the 130 prompts, drawn at random.
            responses_per_prompt: different answers to each, at least 2.
            n_users: people, each with weights drawn as `users` says (see `draw_directions`).
            choices_per_user: over different prompts as long as there are enough.
            oracle_accuracy: how often someone who knows the weights foresees a choice; sets the noise.
            users: "sphere" or "discrete".

        Raises:
            ConfigError: a number is out of range.
        """
        available = load_prompts()
        for name, value, low, high in (
            ("n_prompts", n_prompts, 1, len(available)),
            ("responses_per_prompt", responses_per_prompt, 2, 1_000),
            ("n_users", n_users, 1, 10_000_000),
            ("choices_per_user", choices_per_user, 1, 1_000_000),
        ):
            if not low <= value <= high:
                raise ConfigError(f"{name} is {value}; the text world has room for {low} to {high}")
        for_texts, for_scale, for_users, for_pairs, for_noise = np.random.default_rng(seed).spawn(5)

        chosen = [available[i] for i in np.sort(for_texts.permutation(len(available))[:n_prompts])]
        written = [(p.text, *answer) for p in chosen for answer in _answers(p, responses_per_prompt, for_texts)]
        raw = np.array([_measure(style, response) for _, style, response in written])
        centre, spread = raw.mean(0), raw.std(0).clip(min=1e-12)
        attributes = (raw - centre) / spread

        def margins(weights: np.ndarray, pairs: np.ndarray) -> np.ndarray:
            gaps = attributes[pairs[..., 0]] - attributes[pairs[..., 1]]
            return np.einsum("uca,ua->uc", gaps, weights)

        shape = (n_prompts, responses_per_prompt)
        sample = draw_directions(users, CALIBRATION_PAIRS, len(ATTRIBUTES), for_scale)
        sample_pairs = draw_pairs(CALIBRATION_PAIRS, 1, *shape, for_scale)
        scale = calibrate_scale(margins(sample, sample_pairs), oracle_accuracy)
        weights = scale * draw_directions(users, n_users, len(ATTRIBUTES), for_users)
        pairs = draw_pairs(n_users, choices_per_user, *shape, for_pairs)
        lost = for_noise.random(pairs.shape[:2]) > 0.5 + 0.5 * np.tanh(0.5 * margins(weights, pairs))  # sigmoid
        pairs[lost] = pairs[lost][:, ::-1]
        return cls(
            prompts=tuple(p.text for p in chosen),
            items=tuple((prompt, response) for prompt, _, response in written),
            prompt_of=torch.arange(n_prompts).repeat_interleave(responses_per_prompt),
            attributes=torch.from_numpy(attributes).float(),
            weights=torch.from_numpy(weights).float(),
            pairs=torch.from_numpy(pairs),
            scale=scale,
            centre=torch.from_numpy(centre).float(),
            spread=torch.from_numpy(spread).float(),
        )

    @property
    def n_users(self) -> int:
        """Number of people."""
        return len(self.weights)

    @cached_property
    def table(self) -> ChoiceTable:
        """All choices as a table."""
        return ChoiceTable.from_choices(self.choices(), source="text world")

    def draw_choices(self, weights: Tensor, prompts: Tensor, count: int, rng: np.random.Generator) -> Tensor:
        """Further choices, of any people on some of the prompts: Int64[users choices 2] item ids, the chosen one first.

        No user sees a prompt again before having seen all of `prompts`, and no user sees a pair twice.

        Args:
            weights: Float[users attributes] in nats, or Float[users choices attributes] where tastes move from one
                choice to the next.
            prompts: Int64[chosen], positions in `prompts`.
            count: choices per user.
            rng: draws pairs and noise.

        Raises:
            ConfigError: more choices than these prompts have pairs.
        """
        responses = len(self.items) // len(self.prompts)
        place, answer = np.divmod(draw_pairs(len(weights), count, len(prompts), responses, rng), responses)
        pairs = prompts[torch.from_numpy(place)] * responses + torch.from_numpy(answer)
        gaps = self.attributes[pairs[..., 0]] - self.attributes[pairs[..., 1]]
        tastes = weights if weights.ndim == 3 else weights.unsqueeze(1)
        lost = torch.from_numpy(rng.random(pairs.shape[:2])) > torch.sigmoid((gaps * tastes).sum(-1))
        return torch.where(lost.unsqueeze(-1), pairs.flip(-1), pairs)

    def user_id(self, user: int) -> str:
        """The name of a user in `table`."""
        return f"user-{user:05d}"

    def choices(self) -> Iterator[Choice]:
        """All choices, user by user."""
        for user, pairs in enumerate(self.pairs.tolist()):
            name = self.user_id(user)
            for chosen, rejected in pairs:
                prompt, better = self.items[chosen]
                yield Choice.pair(name, prompt, better, self.items[rejected][1])

    def rewards(self, users: Tensor | None = None, items: Tensor | None = None) -> Tensor:
        """True rewards in nats, Float32[users items], of chosen users and items (Int64 ids; None = all)."""
        weights = self.weights if users is None else self.weights[users]
        attributes = self.attributes if items is None else self.attributes[items]
        return weights @ attributes.T

    def measure(self, prompt: str, answers: Sequence[str]) -> Tensor:
        """The attributes of any answers to a prompt, read off their words: Float32[answers attributes].

        Raises:
            KeyError: a prompt that is not of this world.
        """
        raw = torch.tensor([read_answer(prompt, answer).attributes() for answer in answers], dtype=torch.float32)
        return (raw.view(-1, len(ATTRIBUTES)) - self.centre) / self.spread

    def locate(self, items: Iterable[tuple[str, str]]) -> Tensor:
        """World ids Int64[items] of (prompt, response) texts, such as `table.item_texts()`.

        Raises:
            KeyError: a text is not of this world.
        """
        return torch.tensor([self._ids[item] for item in items], dtype=torch.int64)

    @cached_property
    def _ids(self) -> dict[tuple[str, str], int]:
        return {item: i for i, item in enumerate(self.items)}

    def oracle_accuracy(self) -> float:
        """Share of the choices that someone who knows the weights foresees; equal rewards count half."""
        gaps = self.attributes[self.pairs[..., 0]] - self.attributes[self.pairs[..., 1]]
        margins = torch.einsum("uca,ua->uc", gaps, self.weights)
        return torch.heaviside(margins, torch.tensor(0.5)).mean().item()

    def describe(self, user: int) -> str:
        """What a user likes, in words."""
        return describe(self.weights[user].numpy())


def _answers(prompt: Prompt, count: int, rng: np.random.Generator) -> Iterator[tuple[Style, str]]:
    """`count` different answers to one prompt."""
    seen: set[str] = set()
    while len(seen) < count:
        style = Style.draw(rng)
        text = write(prompt, style, rng)
        if text not in seen:
            seen.add(text)
            yield style, text


def _measure(style: Style, text: str) -> tuple[float, ...]:
    return np.log(len(text.split())), style.warmth, style.hedging, style.humour, style.formality
