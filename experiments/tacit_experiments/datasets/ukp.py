"""The negative control: crowd workers who say which of two arguments convinces more (UKPConvArg1).

Single votes are noisy, yet workers do not differ in any way that a further vote reveals; a method that claims a gain
here is leaking. Users are the workers with `MIN_VOTES` strict votes (ties are left out). Groups are whole topics: a
worker saw many of them, and dividing topics instead of arguments loses no vote across sides. An item's vector is its
argument's, without the topic, and the logarithm of its length, which tells much by itself.

Data: UKPConvArg1, CC-BY-4.0: `votes.csv.gz` (topic, arg1, arg2, user, choice a1 / a2 / equal), `args.json.gz` (id to
text).
"""

import csv
import gzip
import json
from collections import Counter

import torch
from torch import Tensor

from tacit.choices import ChoiceIndex
from tacit.evaluation.benchmark.datasets import Sources
from tacit.evaluation.benchmark.task import Part, Task, describe_parts
from tacit_experiments.datasets.folds import divide_groups, divide_people
from tacit_experiments.datasets.pairs import group_mask

__all__ = ["FOLDER", "ukp_task"]

FOLDER = "ukpconvarg"
MIN_VOTES = 20
VALIDATION_TOPICS, TEST_TOPICS = 6, 8  # of 32


def ukp_task(seed: int, sources: Sources) -> Task:
    """Workers of one fold, asked about topics that nobody trained on."""
    folder = sources.folder(FOLDER)
    with gzip.open(folder / "args.json.gz", "rt", encoding="utf-8") as file:
        arguments: dict[str, str] = json.load(file)
    with gzip.open(folder / "votes.csv.gz", "rt", encoding="utf-8", newline="") as file:
        votes = [row for row in csv.DictReader(file) if row["choice"] != "equal"]
    counts = Counter(row["user"] for row in votes)
    worker = {name: i for i, name in enumerate(sorted(name for name, n in counts.items() if n >= MIN_VOTES))}
    topic = {name: i for i, name in enumerate(sorted({row["topic"] for row in votes}))}
    item = {name: i for i, name in enumerate(arguments)}
    topic_of = torch.tensor([topic[name.partition("|")[0]] for name in arguments])

    votes = [row for row in votes if row["user"] in worker]
    user = torch.tensor([worker[row["user"]] for row in votes])
    items = torch.tensor([[item[row["arg1"]], item[row["arg2"]]] for row in votes])
    second = torch.tensor([row["choice"] == "a2" for row in votes])
    items = torch.where(second.unsqueeze(1), items.flip(1), items)
    index = ChoiceIndex.build(user, items, torch.tensor([0, 1]).expand_as(items), topic_of[items], n_users=len(worker))

    people = divide_people(len(worker), seed)
    topics = divide_groups(len(topic), seed, validation=VALIDATION_TOPICS, test=TEST_TOPICS)
    train, validation, test = (
        _part(index, who, topics.train, asked, len(topic))
        for who, asked in (
            (people.train, topics.train[:0]),
            (people.validation, topics.validation),
            (people.test, topics.test),
        )
    )
    texts = tuple((_title(name.partition("|")[0]), text) for name, text in arguments.items())
    return Task(
        name="ukp",
        seed=seed,
        vectors=_vectors(list(arguments.values()), sources),
        train=train,
        validation=validation,
        test=test,
        texts=texts,
        facts=describe_parts(train, validation, test)
        | {"workers": len(worker), "topics": len(topic), "test_topics": TEST_TOPICS},
    )


def _part(index: ChoiceIndex, people: Tensor, known: Tensor, asked: Tensor, n_topics: int) -> Part:
    """The votes of `people` on the topics `known` (contexts, or training) and `asked` (targets)."""
    allowed = group_mask(torch.cat([known, asked]), n_topics)
    own = index.of_users(people)
    return Part(own.select(allowed[own.group].all(1)), group_mask(asked, n_topics))


def _vectors(arguments: list[str], sources: Sources) -> Tensor:
    """Float32[items dim]."""
    words = torch.tensor([[len(text.split())] for text in arguments])
    return torch.cat([sources.vectors([("", text) for text in arguments]), words.log1p()], dim=1)


def _title(topic: str) -> str:
    """`ban-plastic-water-bottles_no-bad-for-the-economy` as words."""
    question, _, stance = topic.partition("_")
    return f"{question}: {stance}".replace("-", " ")
