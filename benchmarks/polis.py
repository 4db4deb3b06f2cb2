"""Real users: does a handful of choices tell what a person will say about statements nobody trained on?

    python benchmarks/polis.py [--data DIR] [--splits 5] [--choices both] [--out DIR] [--threads N]

Data: the Bowling Green poll (Polis; 1 agree, -1 disagree). A choice is a statement a person agreed with against one the
same person disagreed with. People and statements are both divided. Validation (early stopping, and every setting was
chosen on it) draws from its own people and its own half of the statements, none of which is ever tested. The other
people are cut into as many folds as there are splits, so that nobody is tested twice; test statements are drawn from
the other half. Pairs lie inside one part of the statements: a test person's context holds training statements, the
targets hold test statements.

Two kinds of choices are reported. "all": any such pair; many are decided by what nearly everybody agrees with.
"contested": pairs of statements where at least a fifth of the training people who chose between them went each way.
"""

import argparse
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from tacit.choices import ChoiceIndex
from tacit.embedders import resolve_embedder
from tacit.evaluation import Predictions, Summary, accuracy, calibration, evaluate, mean_intervals, nll, plot_accuracy
from tacit.files import write_json
from tacit.rewards import RewardConfig, fit_reward
from tacit.training import TrainingConfig

ROOT = Path(__file__).resolve().parents[1]
FOLDER = "polis_bowling_green"
VALIDATION = 0.15  # of people and of statements
AT_LEAST = 10  # training people who chose, for a pair of statements to count as contested
KS = (0, 1, 3, 5, 10, 20)
CHOICES = {"all": 0.0, "contested": 0.2}  # least share of people on the losing side of a pair
METHODS = {"ours": "model", "pooled": "pooled", "shuffled user": "shuffled_user", "adaptation off": "adaptation_off"}
MODEL = RewardConfig(encoder="additive", latent=4, evidence="reward", dropout=0.3)
TRAINING = TrainingConfig(steps=600, validate_every=50, patience=6)
PAIRS = 200  # of one person inside one part of the statements, at most


@dataclass(frozen=True)
class Poll:
    """votes Int8[people statements]: 1 agree, -1 disagree, 0 otherwise; the statements' texts in the same order."""

    votes: np.ndarray
    texts: list[str]


@dataclass(frozen=True)
class Split:
    """Numbers of the people and statements of each part, ascending, by "train", "validation", "test"."""

    people: dict[str, np.ndarray]
    statements: dict[str, np.ndarray]


def read_poll(data: Path) -> Poll:
    """The poll without statements that the moderators removed."""
    comments = pd.read_csv(data / FOLDER / "comments.csv")
    comments = comments[comments["moderated"] != -1].sort_values(by="comment-id")
    votes = pd.read_csv(data / FOLDER / "participants-votes.csv.gz")
    table = votes[comments["comment-id"].astype(str).tolist()]
    return Poll(table.fillna(0).to_numpy().astype(np.int8), comments["comment-body"].str.strip().tolist())


def make_splits(poll: Poll, count: int, seed: int = 0) -> list[Split]:
    """`count` splits; test people are disjoint, and nobody and nothing that is tested ever serves for validation."""
    n_people, n_statements = poll.votes.shape
    rng = np.random.default_rng(seed)
    people, statements = rng.permutation(n_people), rng.permutation(n_statements)
    developing, tested = np.split(people, [round(VALIDATION * n_people)])
    half = n_statements // 2
    part = round(VALIDATION * n_statements)
    splits = []
    for fold in np.array_split(tested, count):
        validation = rng.choice(statements[:half], part, replace=False)
        test = rng.choice(statements[half:], part, replace=False)
        splits.append(
            Split(
                {"train": np.setdiff1d(tested, fold), "validation": np.sort(developing), "test": np.sort(fold)},
                {
                    "train": np.setdiff1d(statements, np.concatenate([validation, test])),
                    "validation": np.sort(validation),
                    "test": np.sort(test),
                },
            )
        )
    return splits


def contested(poll: Poll, people: np.ndarray, share: float) -> np.ndarray:
    """Bool[statements statements]: of `people` who agreed with one and disagreed with the other, enough go each way.

    Symmetric, so it tells nothing of which way anybody goes.
    """
    agreed, disagreed = (np.asarray(poll.votes[people] == vote, dtype=np.float32) for vote in (1, -1))
    one = agreed.T @ disagreed
    return (np.minimum(one, one.T) >= share * (one + one.T)) & (one + one.T >= AT_LEAST)


def choices_of(
    poll: Poll, people: np.ndarray, *sides: np.ndarray, allowed: np.ndarray | None = None, seed: int = 0
) -> ChoiceIndex:
    """Pairs (agreed, disagreed) of `people` (renumbered from 0); both statements of a pair come from the same side.

    Every pair of a person inside a side, or `PAIRS` random ones of them. The group of an item is the item: all
    statements answer one prompt.
    """
    user, items = [], []
    for number, person in enumerate(people):
        for place, side in enumerate(sides):
            vote = poll.votes[person, side]
            pairs = np.stack(np.meshgrid(side[vote == 1], side[vote == -1], indexing="ij"), -1).reshape(-1, 2)
            if allowed is not None:
                pairs = pairs[allowed[pairs[:, 0], pairs[:, 1]]]
            rng = np.random.default_rng([seed, person, place])
            chosen = rng.choice(pairs, min(PAIRS, len(pairs)), replace=False) if len(pairs) else pairs
            user.append(np.full(len(chosen), number))
            items.append(chosen)
    ids = torch.from_numpy(np.concatenate(items)).long()
    rank = torch.tensor([0, 1]).expand_as(ids)
    return ChoiceIndex.build(torch.from_numpy(np.concatenate(user)), ids, rank, ids, n_users=len(people))


def mask(statements: np.ndarray, count: int) -> Tensor:
    """Bool[statements] of a list of numbers."""
    chosen = torch.zeros(count, dtype=torch.bool)
    chosen[torch.from_numpy(statements)] = True
    return chosen


@dataclass(frozen=True)
class Answers:
    """Test people of all splits: by method Float32[ks people targets], NaN where somebody lacks k choices."""

    chosen: dict[str, Tensor]
    real: Tensor
    split: Tensor
    has_k: Tensor

    @classmethod
    def of(cls, found: list[Predictions]) -> "Answers":
        width = max(p.real.shape[1] for p in found)

        def wide(values: Tensor, fill: float) -> Tensor:
            return torch.nn.functional.pad(values, (0, width - values.shape[-1]), value=fill)

        return cls(
            {m: torch.cat([wide(p.chosen[m], torch.nan) for p in found], dim=1) for m in found[0].chosen},
            torch.cat([wide(p.real, False) for p in found]),
            torch.cat([torch.full((len(p.real),), i) for i, p in enumerate(found)]),
            torch.cat([p.has_k for p in found], dim=1),
        )


def summary(answers: Answers, method: str) -> Summary:
    """Accuracy, NLL and calibration error by k; accuracy with its interval over people."""
    chosen, real = answers.chosen[method], answers.real
    right = accuracy(chosen, real)
    values = {
        "accuracy": right.nanmean(1),
        "nll": nll(chosen, real).nanmean(1),
        "ece": torch.tensor([calibration(at_k, real).ece for at_k in chosen]),
    }
    bounds = mean_intervals(right)
    return Summary(
        {name: dict(zip(KS, value.tolist(), strict=True)) for name, value in values.items()},
        {"accuracy": {k: (low, high) for k, (low, high) in zip(KS, bounds.tolist(), strict=True)}},
    )


def gains(answers: Answers, control: str) -> dict[str, Any]:
    """Accuracy of the model less that of a control, per person and then averaged, by k, with intervals over people.

    People of one split share their test statements, so an interval over people cannot see how much the statements
    decide: the gain of each split stands beside it.
    """
    gain = accuracy(answers.chosen["model"], answers.real) - accuracy(answers.chosen[control], answers.real)
    mean, bounds = gain.nanmean(1).tolist(), mean_intervals(gain).tolist()
    splits = [gain[:, answers.split == i].nanmean(1).tolist() for i in range(int(answers.split.max()) + 1)]
    return {
        str(k): {"mean": mean[i], "interval": bounds[i], "splits": [split[i] for split in splits]}
        for i, k in enumerate(KS)
    }


def run_split(poll: Poll, vectors: Tensor, split: Split, share: float, threads: int | None) -> Predictions:
    """Train ours and the pooled control alike, then ask the test people, once."""
    train, validation, test = (split.statements[part] for part in ("train", "validation", "test"))
    allowed = contested(poll, split.people["train"], share) if share else None
    fit = choices_of(poll, split.people["train"], train, allowed=allowed)
    stop = choices_of(poll, split.people["validation"], train, validation, allowed=allowed)
    ask = choices_of(poll, split.people["test"], train, test, allowed=allowed)
    training = TRAINING.model_copy(update={"threads": threads})
    ours, pooled = (
        fit_reward(
            fit,
            vectors,
            validation=stop,
            target_groups=mask(validation, len(vectors)),
            config=MODEL.model_copy(update=update),
            training=training,
        )
        for update in ({}, {"encoder": "none", "evidence": "network"})
    )
    report = evaluate(ours, ask, vectors, ks=KS, pooled=pooled, target_groups=mask(test, len(vectors)), resamples=1)
    assert report.predictions is not None
    return report.predictions


def table(answers: Answers, summaries: dict[str, Summary], over_pooled: dict[str, Any]) -> str:
    """Rows of numbers by k, as Markdown."""

    def row(label: str, cells: list[str]) -> str:
        return f"| {label} | " + " | ".join(cells) + " |"

    lines = [row("k", [str(k) for k in KS]), "|---" * (len(KS) + 1) + "|"]
    lines += [row(label, [f"{100 * s['accuracy'][k]:.1f}" for k in KS]) for label, s in summaries.items()]
    found = [over_pooled[str(k)] for k in KS]
    lines.append(row("gain over pooled", [f"{100 * g['mean']:+.1f}" for g in found]))
    lines.append(
        row("95 % over people", ["{:+.1f} to {:+.1f}".format(*(100 * b for b in g["interval"])) for g in found])
    )
    lines.append(
        row(
            "least, most of the splits",
            [f"{100 * min(g['splits']):+.1f}, {100 * max(g['splits']):+.1f}" for g in found],
        )
    )
    lines.append(row("ECE of ours", [f"{100 * summaries['ours']['ece'][k]:.1f}" for k in KS]))
    lines.append(row("people", [str(int(n)) for n in answers.has_k.sum(1)]))
    return "\n".join(lines)


def main() -> None:
    """Both kinds of choices, all splits; prints tables, writes JSON and the plots."""
    options = arguments()
    poll = read_poll(options.data)
    embedder = resolve_embedder("minilm", device="cpu")
    vectors = torch.as_tensor(embedder.embed([("", text) for text in poll.texts])).float()
    result: dict[str, Any] = {}
    for name, share in CHOICES.items():
        if options.choices not in (name, "both"):
            continue
        started = time.perf_counter()
        splits = make_splits(poll, options.splits)
        answers = Answers.of([run_split(poll, vectors, split, share, options.threads) for split in splits])
        summaries = {label: summary(answers, method) for label, method in METHODS.items()}
        over = {label: gains(answers, method) for label, method in METHODS.items() if method != "model"}
        seconds = time.perf_counter() - started
        print(
            f"\n{name} choices, {options.splits} splits, {seconds:.0f} s\n\n{table(answers, summaries, over['pooled'])}"
        )
        result[name] = {
            "share": share,
            "seconds": seconds,
            "people": dict(zip(map(str, KS), answers.has_k.sum(1).tolist(), strict=True)),
            "methods": {label: s.to_json() for label, s in summaries.items()},
            "gain": over,
        }
        if options.out:
            options.out.mkdir(parents=True, exist_ok=True)
            title = f"Unseen people, unseen statements ({name} choices)"
            plot_accuracy(options.out / f"polis_{name}.png", summaries, title=title)
    if options.out:
        write_json(options.out / "polis.json", result)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("TACIT_DATA", ROOT.parent / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=default, help="default: $TACIT_DATA, else ../shared/data")
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--choices", choices=[*CHOICES, "both"], default="both")
    parser.add_argument("--out", type=Path, help="folder for polis.json and the plots")
    parser.add_argument("--threads", type=int, help="default: measured")
    return parser.parse_args()


if __name__ == "__main__":
    main()
