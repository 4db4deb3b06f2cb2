"""From a table of preferences and a reward model to a trained policy: what `tacit train-policy` does."""

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from tacit.choices.dropping import stop_or_skip
from tacit.choices.table import ChoiceTable
from tacit.embedders import SuppliedVectors
from tacit.embedders.table import item_vectors, text_vectors
from tacit.engines import Dialogue, load_base
from tacit.events import Listener, counting
from tacit.files import atomic_folder, first_process
from tacit.policies import PolicyTrainingConfig, fit_policy, read_with_base
from tacit.policies.pairs import tokenise
from tacit.rewards.model import RewardModel
from tacit.steering import PolicyConfig, SteerablePolicy
from tacit.training.checkpoint import unfinished_run
from tacit.workflows.reward import training_parts

__all__ = ["train_policy"]

_OWN = {"checkpoint", "reference.safetensors", "written.json", "metrics.jsonl", "tensorboard"}
_UNFINISHED = (".checkpoint.", ".reference.safetensors.", ".written.json.")
"""What a kill in the middle of writing leaves."""


def train_policy(
    table: ChoiceTable,
    reward: RewardModel,
    base: str,
    out: Path,
    *,
    config: PolicyConfig | None = None,
    training: PolicyTrainingConfig | None = None,
    device: str | None = None,
    dtype: str | None = None,
    skip_bad_rows: bool = False,
    overwrite: bool = False,
    on_event: Listener | None = None,
) -> SteerablePolicy:
    """Train on the table's users (its `train` rows if it has a `split` column) and save to `out`.

    Users and prompts are divided as `train_reward` divides them under the same seed. While it runs, everything lives in
    `<out>.partial`, from where a killed run resumes on the same trajectory.

    Args:
        table: the choices.
        reward: turns a handful of choices into z.
        base: path or hub name of a causal language model.
        out: folder for the policy.
        config, training: what is trained, and how.
        device, dtype: of the base.
        skip_bad_rows: leave out rows that the base cannot read, such as answers too long for it, instead of stopping.
        overwrite: replace a policy that `out` holds, and start anew where an unfinished run has other settings.
        on_event: receives training events.

    Raises:
        ChoiceError: too few users or choices, or rows that the base cannot read, found before any other work.
        ConfigError: a base that is missing or cannot be steered, settings that do not fit it, or a loss that diverges.
        EmbeddingError, StateMismatchError: the reward model's embedder is missing or another one.
        OutputError: `out` holds a policy or an unfinished run of other settings, or another run is writing it.
    """
    config, training = config or PolicyConfig(), training or PolicyTrainingConfig()
    with unfinished_run(out, own="reward/config.json", overwrite=overwrite, is_part=_is_part) as unfinished:
        training_parts(table, training.seed)  # to fail before the base is loaded
        loaded = load_base(base, device=device, dtype=dtype)
        dialogue = Dialogue(loaded, template=config.template, max_length=config.max_length)
        used = torch.from_numpy(np.bincount(table.items[table.rank >= 0], minlength=table.n_items) > 0)
        rows, faults = tokenise(dialogue, table.item_texts(), used, progress=counting(on_event, "tokenising"))
        table = _readable(table, faults, skip_bad_rows=skip_bad_rows)
        parts = training_parts(table, training.seed)
        embedder = read_with_base(reward, loaded)
        vectors = item_vectors(table, embedder, progress=counting(on_event, "embedding"))
        told = counting(on_event, "embedding answers")
        embed = partial(text_vectors, embedder=embedder, progress=told)
        policy = fit_policy(
            loaded, reward, table.item_texts(), vectors, parts.train, parts.validation, folder=unfinished, rows=rows,
            target_groups=parts.target_groups, config=config, training=training, restart=overwrite,
            embed=None if isinstance(embedder, SuppliedVectors) else embed,
            on_event=on_event,
        )  # fmt: skip
        weights = sum(parameter.numel() for parameter in loaded.model.parameters())
        policy.notes.update({"data": table.describe(), "base_weights": weights})
        if first_process():
            with atomic_folder(out) as folder:
                policy.write_files(folder)
                shutil.copyfile(unfinished / "metrics.jsonl", folder / "metrics.jsonl")
    return policy


def _readable(table: ChoiceTable, faults: dict[int, str], *, skip_bad_rows: bool) -> ChoiceTable:
    """The rows whose every answer the base can read.

    Raises:
        ChoiceError: there are others and they are not to be skipped, or there are no such rows.
    """
    faulty = np.zeros(table.n_items, np.bool_)
    faulty[list(faults)] = True
    slots = np.logical_and(faulty[table.items], table.rank >= 0)
    lost = np.any(slots, axis=1)
    bad = [(int(table.line[row]), faults[int(table.items[row, slots[row].argmax()])]) for row in np.flatnonzero(lost)]
    stop_or_skip(table.source, bad, len(table), skip_bad_rows=skip_bad_rows)
    return replace(table.select(~lost), skipped=(*table.skipped, *bad)) if bad else table


def _is_part(name: str) -> bool:
    return name in _OWN or name.startswith(_UNFINISHED)
