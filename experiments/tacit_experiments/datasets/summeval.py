"""Simulated users over rated summaries (SummEval): tastes that truly conflict, as helpfulness and honesty do.

A user weighs four ratings and chooses by BTL between two summaries of one article, at a scale where someone who knows
the weights foresees `ORACLE_ACCURACY` of the choices. Ratings are standardised over all summaries. Users never judge
two summaries that are worth the same to them (four in five share the best consistency). Groups are articles.

An encoder of 256 tokens on article and summary together would see little but the article, and a model of the summary
alone cannot know whether it is faithful. So both are embedded apart, and an item's vector is

    [summary; sqrt(dim) * article * summary, elementwise; their cosine; `surface`]

with the first two cut down to their `COMPONENTS` leading principal components and the others standardised, all fitted
on training articles. Sixty articles cannot teach anybody to look for six telling numbers among 774: of the choices of
one rating's users on validation articles, a logistic model foresees 67 % from 38 numbers, 60 % from all.

Data: SummEval, MIT: 100 articles, 16 machine summaries of each, mean expert ratings from 1 to 5. Summaries of one
article that differ in spaces and capitals alone, which the encoder cannot tell apart, are one item with mean ratings.
"""

import gzip
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tacit.episodes.hashing import mix, step_generator
from tacit.evaluation.benchmark.datasets import Sources
from tacit.evaluation.benchmark.task import Part, Task, describe_parts
from tacit.likelihoods import btl
from tacit.worlds.text import calibrate_scale
from tacit_experiments.datasets.folds import Sides, divide_groups
from tacit_experiments.datasets.pairs import group_mask, pair_index
from tacit_experiments.datasets.surface import surface

__all__ = ["FOLDER", "RATINGS", "RatedSummaries", "read_summaries", "summeval_task"]

FOLDER = "summeval"
RATINGS = ("coherence", "consistency", "fluency", "relevance")
ORACLE_ACCURACY = 0.85
USERS = (400, 100, 200)
CONTEXT_CHOICES, TARGET_CHOICES = 30, 20  # per user; training users make as many in all
VALIDATION_ARTICLES, TEST_ARTICLES = 15, 25  # of 100
COMPONENTS = 16  # of summaries, and of their products with the article
CALIBRATION = 10  # every tenth pair sets the scale
_WEIGHTS, _CHOICES = 451, 452  # independent streams of one seed


@dataclass(frozen=True)
class RatedSummaries:
    """Summaries, those of one article together.

    Shapes: articles and summaries are texts; article_of Int64[items]; ratings Float32[items ratings], by `RATINGS`.
    """

    articles: tuple[str, ...]
    summaries: tuple[str, ...]
    article_of: Tensor
    ratings: Tensor

    @property
    def standardised(self) -> Tensor:
        """Float32[items ratings], zero mean and unit variance over all summaries."""
        return (self.ratings - self.ratings.mean(0)) / self.ratings.std(0, correction=0)

    def pairs_of(self, articles: Tensor) -> Tensor:
        """Int64[pairs 2]: all pairs of summaries of one of these articles (Int64[chosen]), smaller number first."""
        return torch.cat([torch.combinations((self.article_of == a).nonzero().squeeze(1)) for a in articles])


def summeval_task(seed: int, sources: Sources, *, name: str, ratings: tuple[str, ...] | None) -> Task:
    """Users who each care for one of some `ratings`, equally many for each; None: weights anywhere on the simplex."""
    data = read_summaries(sources.folder(FOLDER))
    n_users, n_articles = sum(USERS), len(data.articles)
    if ratings is None:
        types, weights = None, _simplex(n_users, seed)
    else:
        types = torch.arange(n_users) % len(ratings)
        weights = torch.eye(len(RATINGS))[[RATINGS.index(rating) for rating in ratings]][types]
    rewards = weights @ data.standardised.T
    pairs = data.pairs_of(torch.arange(n_articles))[::CALIBRATION]
    gaps = rewards[:, pairs[:, 0]] - rewards[:, pairs[:, 1]]
    rewards *= calibrate_scale(gaps[gaps != 0].numpy(), ORACLE_ACCURACY)

    articles = divide_groups(n_articles, seed, validation=VALIDATION_ARTICLES, test=TEST_ARTICLES)
    parts = []
    for place, users in enumerate(torch.arange(n_users).split(USERS)):
        asked = articles[place] if place else articles.train[:0]
        counts = (CONTEXT_CHOICES, TARGET_CHOICES) if place else (CONTEXT_CHOICES + TARGET_CHOICES,)
        chosen = [
            _choose(data.pairs_of(among), rewards[users], count, mix(seed, _CHOICES, place, side))
            for side, (among, count) in enumerate(zip((articles.train, asked), counts, strict=False))
        ]
        parts.append(
            Part(
                pair_index(torch.cat(chosen, dim=1), data.article_of),
                group_mask(asked, n_articles),
                None if types is None else types[users],
                rewards[users],
            )
        )
    train, validation, test = parts
    return Task(
        name=name,
        seed=seed,
        vectors=_vectors(data, sources, articles),
        train=train,
        validation=validation,
        test=test,
        texts=tuple((data.articles[a], s) for a, s in zip(data.article_of.tolist(), data.summaries, strict=True)),
        facts=describe_parts(train, validation, test)
        | {"users_care_for": "all four ratings" if ratings is None else ", ".join(ratings)},
    )


def read_summaries(folder: Path) -> RatedSummaries:
    """The articles and summaries in a folder."""
    articles, summaries, article_of, ratings = [], [], [], []
    with gzip.open(folder / "summeval.jsonl.gz", "rt", encoding="utf-8") as file:
        for number, row in enumerate(map(json.loads, file)):
            articles.append(row["article"])
            same: dict[str, list[dict]] = {}
            for system in row["systems"]:
                same.setdefault("".join(system["summary"].lower().split()), []).append(system)
            for found in same.values():
                summaries.append(found[0]["summary"])
                article_of.append(number)
                ratings.append(torch.tensor([[rated[name] for name in RATINGS] for rated in found]).mean(0))
    return RatedSummaries(tuple(articles), tuple(summaries), torch.tensor(article_of), torch.stack(ratings))


def _simplex(users: int, seed: int) -> Tensor:
    """Float32[users ratings], uniform on the simplex: Dirichlet(1), as normalised exponentials."""
    drawn = torch.empty(users, len(RATINGS)).exponential_(generator=step_generator(seed, _WEIGHTS))
    return drawn / drawn.sum(1, keepdim=True)


def _choose(pairs: Tensor, rewards: Tensor, count: int, seed: int) -> Tensor:
    """Choices Int64[users count 2], the chosen one first, between `count` of the pairs whose rewards differ."""
    generator = step_generator(seed)
    order = torch.rand(len(rewards), len(pairs), generator=generator)
    order[rewards[:, pairs[:, 0]] == rewards[:, pairs[:, 1]]] = -1
    drawn = pairs[order.topk(count, dim=1).indices]
    a, b = rewards.gather(1, drawn[..., 0]), rewards.gather(1, drawn[..., 1])
    return torch.where(btl.sample(a, b, generator).unsqueeze(-1), drawn, drawn.flip(-1))


def _vectors(data: RatedSummaries, sources: Sources, articles: Sides) -> Tensor:
    """Float32[items dim], as the module says."""
    embedded = sources.vectors([("", text) for text in (*data.articles, *data.summaries)])
    article, summary = embedded[: len(data.articles)][data.article_of], embedded[len(data.articles) :]
    cosine = torch.nn.functional.cosine_similarity(article, summary, dim=1)
    counted = [surface(data.articles[a], s) for a, s in zip(data.article_of.tolist(), data.summaries, strict=True)]
    plain = torch.cat([cosine.unsqueeze(1), torch.tensor(counted)], dim=1)
    known = torch.isin(data.article_of, articles.train)
    product = summary.shape[1] ** 0.5 * article * summary
    blocks = [
        _principal(summary, known),
        _principal(product, known),
        (plain - plain[known].mean(0)) / plain[known].std(0),
    ]
    return torch.cat(blocks, dim=1)


def _principal(vectors: Tensor, known: Tensor) -> Tensor:
    """Float32[items components]: coordinates along the leading principal components of the `known` (Bool[items])."""
    centred = vectors - vectors[known].mean(0)
    _, _, directions = torch.linalg.svd(centred[known], full_matrices=False)
    return centred @ directions[:COMPONENTS].T
