"""What comes of steering: answers written for many users, how good they find them, and how the language fares."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tacit.choices.conversation import Conversation
from tacit.engines import Sampling, TransformersEngine, requests
from tacit.episodes import step_generator

__all__ = ["Health", "answers_for", "even_length_win_rate", "language_health", "steering_efficiency", "win_rate"]

ROWS_AT_ONCE = 256


def answers_for(
    engine: TransformersEngine, prompts: Sequence[Sequence[str]], z: Tensor | None, sampling: Sampling
) -> list[list[str]]:
    """One answer to each prompt of each user, written as z[user], Float[users latent] (None: as the base writes).

    Every batch has a seed of its own, the same for every policy, so that methods are compared on the same luck.
    """
    flat = [(user, prompt) for user, asked in enumerate(prompts) for prompt in asked]
    texts: list[str] = []
    for number, start in enumerate(range(0, len(flat), ROWS_AT_ONCE)):
        some = flat[start : start + ROWS_AT_ONCE]
        own = None if z is None else z[torch.tensor([user for user, _ in some])]
        one = sampling.model_copy(update={"seed": sampling.seed + number, "samples": 1})
        drawn = engine.generate(requests([prompt for _, prompt in some], own, one))
        texts += [answers[0].text for answers in drawn]
    found: list[list[str]] = [[] for _ in prompts]
    for (user, _), text in zip(flat, texts, strict=True):
        found[user].append(text)
    return found


@dataclass(frozen=True)
class Health:
    """How the language of some answers fares.

    Attributes:
        perplexity: of the answers under the unsteered base, per token, end of answer included.
        distinct: share of different word bigrams among all.
        empty: share of answers without a word.
        words: mean length.
    """

    perplexity: float
    distinct: float
    empty: float
    words: float


def language_health(engine: TransformersEngine, prompts: Sequence[str], answers: Sequence[str]) -> Health:
    """Of answers, one a prompt, however they were written."""
    written = [(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True) if answer.strip()]
    total, tokens = 0.0, 0
    for start in range(0, len(written), 64):
        some = written[start : start + 64]
        total += float(engine.log_probs(some).double().sum())
        tokens += sum(len(engine.dialogue.response(Conversation.parse(asked), answer)) for asked, answer in some)
    bigrams = [pair for _, answer in written for pair in zip(answer.split(), answer.split()[1:], strict=False)]
    return Health(
        perplexity=math.exp(-total / max(1, tokens)),
        distinct=len(set(bigrams)) / max(1, len(bigrams)),
        empty=1 - len(written) / max(1, len(answers)),
        words=sum(len(answer.split()) for answer in answers) / max(1, len(answers)),
    )


def steering_efficiency(
    gained: Tensor, unsteered: Tensor, told: Tensor, *, resamples: int = 1000, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """(mean gold reward - mean unsteered) / (mean told - mean unsteered), by row, with 95 % intervals over users.

    Means over users first, the ratio last; a resample draws the same users for all three.

    Shapes: gained Float[rows users]; unsteered, told Float[users]; returns Float64[rows] and Float64[rows 2].
    """
    users = gained.shape[1]
    columns = torch.cat([gained - unsteered, (told - unsteered).unsqueeze(0)]).double()
    means = columns.mean(1)
    drawn = torch.randint(users, (resamples, users), generator=step_generator(seed, 403))
    sampled = columns[:, drawn].mean(-1)  # rows + 1, resamples
    tails = torch.tensor([0.025, 0.975], dtype=torch.float64)
    return means[:-1] / means[-1], (sampled[:-1] / sampled[-1]).quantile(tails, dim=1).T


def win_rate(ours: Tensor, theirs: Tensor) -> Tensor:
    """How often one answer is worth more to its user than the other's, ties counting half: scalar of Float[...]."""
    return torch.heaviside((ours - theirs).double(), torch.tensor(0.5, dtype=torch.float64)).mean()


def even_length_win_rate(ours: Tensor, theirs: Tensor, our_words: Tensor, their_words: Tensor) -> float:
    """The win rate that answers of equal length would have: length-controlled, for tensors Float[...] of one shape.

    A logistic regression of winning on tanh of the standardised difference in words, read off where it is zero, as
    AlpacaEval's length control does with a judge's verdicts (Dubois et al., 2024, arXiv 2404.04475). Fitted by Newton's
    method; a ridge of 1 / answers keeps both weights finite where one side always wins.
    """
    won = torch.heaviside((ours - theirs).double(), torch.tensor(0.5, dtype=torch.float64)).flatten()
    more = (our_words - their_words).double().flatten()
    spread = more.square().mean().sqrt().clamp(min=1e-12)
    columns = torch.stack([torch.ones_like(more), torch.tanh(more / spread)], 1)
    ridge = torch.eye(2, dtype=torch.float64) / len(won)
    weights = torch.zeros(2, dtype=torch.float64)
    for _ in range(50):
        expected = (columns @ weights).sigmoid()
        slope = columns.T @ (won - expected) - ridge @ weights
        curvature = (columns.T * (expected * (1 - expected))) @ columns + ridge
        weights = weights + torch.linalg.solve(curvature, slope)
    return float(weights[0].sigmoid())
