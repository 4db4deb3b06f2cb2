"""From a table of preferences to a trained reward model with its pooled control, resumable and all-or-nothing."""

import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tacit.baselines.pooled import PooledBTL
from tacit.choices.index import ChoiceIndex
from tacit.choices.splits import split_groups, split_users
from tacit.choices.table import ChoiceTable
from tacit.embedders import Embedder
from tacit.episodes.hashing import mix
from tacit.errors import ChoiceError, ConfigError, OutputError
from tacit.events import Listener
from tacit.files import atomic_folder
from tacit.rewards.config import RewardConfig
from tacit.rewards.embedder_reference import EmbedderReference
from tacit.rewards.fit import fit_reward
from tacit.rewards.model import RewardModel
from tacit.rewards.seen import Seen
from tacit.training.checkpoint import unfinished_run
from tacit.training.config import TrainingConfig

__all__ = ["MIN_USERS", "TrainedReward", "group_names", "plan_training", "train_reward", "training_parts"]

logger = logging.getLogger(__name__)

MIN_USERS = 10
HELD_OUT_USERS = 0.1
HELD_OUT_GROUPS = 0.15
MIN_GROUPS = 20
RUNS = ("reward", "pooled")


@dataclass(frozen=True)
class TrainedReward:
    """A reward model and the pooled control trained with the same features, head, optimiser and budget."""

    model: RewardModel
    pooled: PooledBTL


@dataclass(frozen=True)
class TrainingParts:
    """Who and what trains, validates, and is held out for validation targets (all over the table's item numbers)."""

    train: ChoiceIndex
    validation: ChoiceIndex
    target_groups: Tensor | None


def train_reward(
    table: ChoiceTable,
    vectors: Tensor,
    *,
    embedder: Embedder | None = None,
    config: RewardConfig | None = None,
    training: TrainingConfig | None = None,
    out: Path | None = None,
    overwrite: bool = False,
    on_event: Listener | None = None,
) -> TrainedReward:
    """Train on the table's users (its `train` rows if it has a `split` column) and save to `out`.

    A tenth of the users validate; where there are prompts enough, a share of those is kept from training too, so that
    early stopping looks at new users on new prompts. While it runs, everything lives in `<out>.partial`, from where a
    killed run resumes on the same trajectory; `out` appears when all of it is complete.

    Args:
        table: the choices.
        vectors: Float[items dim] by the table's item numbers, from `item_vectors`.
        embedder: what made the vectors; remembered by the model.
        config, training: architecture and optimisation.
        out: folder for the model (with the control under `pooled/`), or None to keep both in memory.
        overwrite: replace a model that `out` holds, and drop an unfinished run of other data or settings.
        on_event: receives the training events of both runs.

    Raises:
        ChoiceError: fewer than ten users, too few choices to form episodes, or nothing but ties.
        ConfigError: settings that contradict each other or the data, or an `out` that cannot be a model's folder.
        OutputError: `out` holds a model or an unfinished run of other settings, or another run is writing it.
    """
    config, training = config or RewardConfig(), training or TrainingConfig()
    parts = plan_training(table, config, training)
    if out is None:
        return _fit_both(table, parts, vectors, embedder, config, training, None, on_event)
    with unfinished_run(out, own="pooled/config.json", overwrite=overwrite, is_part=RUNS.__contains__) as partial:
        try:
            trained = _fit_both(table, parts, vectors, embedder, config, training, partial, on_event)
        except OutputError:  # what lies there is of another run
            if not overwrite:
                raise
            shutil.rmtree(partial)
            trained = _fit_both(table, parts, vectors, embedder, config, training, partial, on_event)
        with atomic_folder(out) as folder:
            trained.model.write_files(folder)
            (folder / "pooled").mkdir()
            trained.pooled.write_files(folder / "pooled")
            files = [file for name in RUNS for file in sorted((partial / name).rglob("metrics.jsonl"))]
            (folder / "metrics.jsonl").write_text("".join(file.read_text() for file in files))
    return trained


def plan_training(table: ChoiceTable, config: RewardConfig, training: TrainingConfig) -> TrainingParts:
    """Who trains and who validates; refuses what cannot be trained, before hours are spent on embedding.

    Raises:
        ChoiceError: too few users, too few choices to form episodes, or nothing but ties.
        ConfigError: the ELBO of an encoder without doubt; ageing of choices that carry no time.
    """
    if training.objective.kind == "elbo" and not config.encoder.settings.has_kl:
        raise ConfigError(
            "training.objective.kind = elbo needs a Gaussian posterior, which reward.encoder = "
            f"{config.encoder.kind} with these settings does not have; use predictive, or additive or attention"
        )
    untimed = int(np.isnan(table.timestamp).sum())
    if config.half_life not in (None, "fit") and untimed:
        raise ConfigError(
            f"reward.half_life ages choices, but {untimed} of {len(table)} rows of {table.source} have no timestamp; "
            "add them, or leave half_life out"
        )
    if bool((table.rank <= 0).all()):
        raise ChoiceError(
            f"{table.source}: all {len(table)} choices are ties, from which nothing can be learnt; give strict ones"
        )
    return training_parts(table, training.seed)


def _fit_both(
    table: ChoiceTable,
    parts: TrainingParts,
    vectors: Tensor,
    embedder: Embedder | None,
    config: RewardConfig,
    training: TrainingConfig,
    partial: Path | None,
    on_event: Listener | None,
) -> TrainedReward:
    names = group_names(table)
    groups = torch.cat([part.group[part.rank >= 0] for part in (parts.train, parts.validation)]).unique().tolist()
    users = torch.cat([parts.train.user.unique(), parts.validation.user.unique()])
    ids = table.users.take(users.unique().numpy())
    seen = Seen.of(ids.to_pylist(), [names(g) for g in groups], salt=f"{training.seed:x}-{len(table)}")
    fits = {}
    fitters = {"reward": fit_reward, "pooled": PooledBTL.fit}
    for name in RUNS[::-1] if config.base else RUNS:  # a base must be there before what is built on it
        base = {"pooled": fits["pooled"]} if config.base and name == "reward" else {}
        fits[name] = fitters[name](
            parts.train,
            vectors,
            validation=parts.validation,
            target_groups=parts.target_groups,
            config=config,
            training=training,
            embedder=None if embedder is None else EmbedderReference.of(embedder),
            seen=seen,
            name=name,
            folder=None if partial is None else partial / name,
            on_event=on_event,
            **base,
        )
    return TrainedReward(fits["reward"], fits["pooled"])


def training_parts(table: ChoiceTable, seed: int) -> TrainingParts:
    """Divide a table for training: by its `split` column where it has one, else by hashes of user and group."""
    seed = mix(seed, 6)  # a caller's own split by the same seed must not decide this one
    if table.split_names and table.split is not None:
        if "train" not in table.split_names:
            found = ", ".join(map(repr, table.split_names[:5]))
            raise ChoiceError(
                f"{table.source} has a 'split' column without 'train' rows (found {found}); name them so, or drop it"
            )
        train_rows = table.split == table.split_names.index("train")
        if "validation" in table.split_names:
            validation_rows = table.split == table.split_names.index("validation")
            train, validation = table.select(train_rows).index(), table.select(validation_rows).index()
            _check_users(train, table.source)
            shared = int(((train.counts > 0) & (validation.counts > 0)).sum())
            if shared:
                raise ChoiceError(
                    f"{table.source}: {shared} users have both 'train' and 'validation' rows; validate on users of "
                    "their own, or drop the validation rows: training then holds some users out itself"
                )
            return TrainingParts(train, validation, None)
        table = table.select(train_rows)
    index = table.index()
    _check_users(index, table.source)
    active = index.user.unique()
    ids = table.users.take(active.numpy()).to_pylist()
    share = max(HELD_OUT_USERS, 3 / len(active))
    kept, held = (active[part] for part in split_users(ids, (1 - share, share), seed=seed))
    while len(held) < 2:
        kept, held = kept[:-1], torch.cat([held, kept[-1:]])
    chosen = torch.zeros(index.n_users, dtype=torch.bool)
    chosen[held] = True
    train, validation = index.select(~chosen[index.user]), index.select(chosen[index.user])
    used = train.group[train.rank >= 0].unique()
    if len(used) < MIN_GROUPS:
        logger.info(
            "%s: %d prompts are too few to hold some out; validation is on new users only", table.source, len(used)
        )
        return TrainingParts(train, validation, None)
    by = "item" if int(used.min()) >= table.n_prompts else "prompt"
    _, held_groups = split_groups(table, (1 - HELD_OUT_GROUPS, HELD_OUT_GROUPS), seed=seed, by=by)
    target = torch.zeros(table.n_prompts + table.n_items, dtype=torch.bool)
    target[held_groups] = True
    if int(used.min()) < table.n_prompts:  # users who saw one prompt only are grouped by item: their items follow it
        target[table.n_prompts :] = target[torch.from_numpy(table.item_prompt.astype(np.int64))]
    inside = target[train.group].any(1)
    return TrainingParts(train.select(~inside), validation, target)


def _check_users(index: ChoiceIndex, source: str) -> None:
    """Refuse data in which too few users have two choices that can stand on different sides of an episode."""
    first = index.group[index.offsets[index.user]]
    touching = torch.zeros(len(index), dtype=torch.bool)
    for slot in range(first.shape[1]):
        touching |= (index.group == first[:, slot : slot + 1]).any(1)
    able = len(index.user[~touching].unique())
    if able < MIN_USERS:
        raise ChoiceError(
            f"{source}: {len(index.user.unique())} users, {able} of them with choices on two prompts (or, where there "
            f"is one, over separate items); at least {MIN_USERS} such are needed, to infer from one choice and predict "
            "another; bring more users, or more choices of each"
        )


def group_names(table: ChoiceTable) -> Callable[[int], str]:
    """The text a group goes by in `Seen`: its prompt, or prompt and response where a group is an item."""

    def name(group: int) -> str:
        if group < table.n_prompts:
            return str(table.prompts[group].as_py())
        return "\x1f".join(table.item(group - table.n_prompts))

    return name
