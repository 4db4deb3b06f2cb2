"""How well a model does on a table of preferences, seen and unseen users and prompts apart: what `tacit evaluate` does.

model, pooled = load_with_control("model")
assessment = assess(model, tacit.read_choices("data.jsonl"), pooled=pooled)
assessment.write("results")
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tacit.baselines.pooled import PooledBTL
from tacit.choices.table import ChoiceTable
from tacit.embedders.table import item_vectors
from tacit.errors import ChoiceError, ModelFormatError
from tacit.evaluation import Report, evaluate, plot_accuracy, plot_reliability
from tacit.events import Listener, counting
from tacit.files import fill_folder, write_json, write_text
from tacit.rewards.model import RewardModel
from tacit.rewards.seen import Seen
from tacit.workflows.reward import group_names

__all__ = ["KS", "Assessment", "assess", "known_groups", "load_with_control"]

logger = logging.getLogger(__name__)

KS = (0, 1, 3, 5, 10, 20)
Counts = dict[str, dict[str, int]]


@dataclass(frozen=True)
class Assessment:
    """An evaluation report and what of its data the model had met in training.

    Attributes:
        report: on all users and prompts; its parts `seen_users`, `unseen_users`, `seen_prompts` and `unseen_prompts`
            are there where the data has any. Targets of the prompt parts are choices on such prompts only; their
            contexts are on seen prompts, unless there are none.
        met: `{"users": {"seen", "unseen"}, "prompts": {"seen", "unseen"}}`, counts; a prompt is an item where all
            choices of a user share one prompt.
    """

    report: Report
    met: Counts

    def to_json(self) -> dict[str, Any]:
        """The shape of `results.json`."""
        return self.report.to_json() | {"met": self.met}

    def write(self, folder: str | PathLike[str]) -> list[Path]:
        """Write `accuracy.png`, `reliability.png`, `results.md` and, last, `results.json`; returns their paths."""
        report = self.report
        lines = [
            f"{counts['seen']} {what} seen in training, {counts['unseen']} not." for what, counts in self.met.items()
        ]
        with fill_folder(folder, last="results.json") as new:
            plot_accuracy(new / "accuracy.png", report.methods)
            plot_reliability(new / "reliability.png", report.reliability, ece=report.model["ece"])
            write_text(new / "results.md", report.to_markdown() + "\n" + " ".join(lines) + "\n")
            write_json(new / "results.json", self.to_json())
        return [Path(folder) / name for name in ("accuracy.png", "reliability.png", "results.md", "results.json")]


def load_with_control(folder: str | PathLike[str]) -> tuple[RewardModel, PooledBTL | None]:
    """A model and the pooled control that `tacit train-reward` saves under `pooled/`, None where there is none.

    Raises:
        ModelFormatError: one of the two is damaged, or the control is not this model's.
    """
    model = RewardModel.load(folder)
    beside = Path(folder) / "pooled"
    if not beside.exists():
        logger.info("%s holds no pooled control, so what is gained over one reward for all is not shown", folder)
        return model, None
    pooled = PooledBTL.load(beside)
    if pooled.dim != model.dim or pooled.embedder != model.embedder:
        raise ModelFormatError(
            f"{beside}: this control was trained on other item vectors than the model; delete it, or train both again"
        )
    return model, pooled


def assess(
    model: RewardModel,
    table: ChoiceTable,
    *,
    pooled: PooledBTL | None = None,
    ks: Sequence[int] = KS,
    seed: int = 0,
    on_event: Listener | None = None,
) -> Assessment:
    """Evaluate `model` on every choice of `table`, or on its `test` rows if it has a `split` column.

    Args:
        model, pooled: from `load_with_control`.
        table: the choices.
        ks: numbers of context choices.
        seed: fixes sides, targets, contexts and resamples.
        on_event: hears how far embedding and asking are.

    Raises:
        ChoiceError: a `split` column without `test` rows, nobody with a target, or nobody with any of the `ks`.
        EmbeddingError, StateMismatchError: the vectors are not those that the model was trained on.
    """
    if table.split_names:
        table = table.of_split("test")
    vectors = item_vectors(table, model.reader, progress=counting(on_event, "embedding"))
    index = table.index()
    known_users = model.seen.knows_users(table.users.to_pylist())
    met_groups = known_groups(model.seen, table)
    settings: dict[str, Any] = {"ks": ks, "seed": seed, "pooled": pooled}
    report = evaluate(
        model, index, vectors, parts={"seen_users": known_users, "unseen_users": ~known_users},
        progress=counting(on_event, "asking about all users"), **settings,
    )  # fmt: skip
    if not report.model["accuracy"]:
        most = int(index.counts.max())
        raise ChoiceError(
            f"{table.source}: nobody has {min(ks)} context choices (the most choices of one user are {most}, and about "
            "half are targets); give smaller numbers to --k"
        )
    groups = index.group[index.rank >= 0].unique()
    known = met_groups[groups]
    parts = {}
    if known.all() or not known.any():
        parts["seen_prompts" if known.any() else "unseen_prompts"] = replace(report, parts={}, episodes={})
    else:
        familiar = index.select(met_groups[index.group].all(1))
        for name, choices, targets in (
            ("seen_prompts", familiar, None),
            ("unseen_prompts", index, ~met_groups),
        ):
            try:
                told = counting(on_event, f"asking about {name.replace('_', ' ')}")
                parts[name] = evaluate(model, choices, vectors, target_groups=targets, progress=told, **settings)
            except ChoiceError as error:
                logger.info("%s: %s are not reported: %s", table.source, name, error)
    present = index.counts > 0
    met = {"users": _count(known_users[present]), "prompts": _count(known)}
    if not met["users"]["unseen"]:
        logger.warning(
            "%s: all %d users were in training, so this says little about new ones; evaluate on others, or mark rows "
            "in a split column before training", table.source, met["users"]["seen"],
        )  # fmt: skip
    return Assessment(replace(report, parts={**report.parts, **parts}), met)


def known_groups(seen: Seen, table: ChoiceTable) -> Tensor:
    """Bool[groups]: met in training, as a prompt or, by users who saw one prompt only, as an item of it."""
    names = group_names(table)
    known = seen.knows_prompts(names(group) for group in range(table.n_prompts + table.n_items))
    prompts, items = known[: table.n_prompts], known[table.n_prompts :]
    prompt_of = torch.from_numpy(table.item_prompt).long()
    touched = prompts.clone()
    touched[prompt_of[items]] = True
    return torch.cat([touched, items | prompts[prompt_of]])


def _count(known: Tensor) -> dict[str, int]:
    return {"seen": int(known.sum()), "unseen": int((~known).sum())}
