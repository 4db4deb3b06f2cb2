"""From a table of preferences and a reward model to a trained policy: what `tacit train-policy` does."""

import logging
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from tacit.choices.table import ChoiceTable
from tacit.embedders import SuppliedVectors
from tacit.errors import ConfigError, TacitError
from tacit.files import atomic_folder
from tacit.policies import PolicyConfig, PolicyTrainingConfig, SteerablePolicy, fit_policy, load_base, reward_embedder
from tacit.policies.storage import write_policy_files
from tacit.rewards.model import RewardModel
from tacit.training.loop import Event
from tacit.workflows.items import item_vectors, text_vectors
from tacit.workflows.reward import training_parts

__all__ = ["train_policy"]

logger = logging.getLogger(__name__)

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
    on_event: Callable[[Event], None] | None = None,
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
        on_event: receives training events.

    Raises:
        ChoiceError: too few users or choices, an empty response, or one that is too long.
        ConfigError: a base that is missing or cannot be steered, settings that do not fit it, or a loss that diverges.
        EmbeddingError, StateMismatchError: the reward model's embedder is missing or another one.
    """
    training = training or PolicyTrainingConfig()
    unfinished = _unfinished_folder(out)
    parts = training_parts(table, training.seed)
    loaded = load_base(base, device=device, dtype=dtype)
    embedder = reward_embedder(reward, loaded)
    vectors = item_vectors(table, embedder)
    embed = None if isinstance(embedder, SuppliedVectors) else partial(text_vectors, embedder=embedder)
    fresh = not unfinished.exists()
    try:
        policy = fit_policy(
            loaded, reward, table.item_texts(), vectors, parts.train, parts.validation, folder=unfinished,
            target_groups=parts.target_groups, config=config, training=training, embed=embed, on_event=on_event,
        )  # fmt: skip
    except TacitError:
        if fresh:  # what stopped it would stop it again: nothing here is worth resuming
            shutil.rmtree(unfinished, ignore_errors=True)
        raise
    if torch.distributed.is_initialized() and torch.distributed.get_rank() != 0:
        return policy
    with atomic_folder(out) as folder:
        write_policy_files(policy, folder)
        shutil.copy(unfinished / "metrics.jsonl", folder / "metrics.jsonl")
    shutil.rmtree(unfinished)
    return policy


def _unfinished_folder(out: Path) -> Path:
    """Where an unfinished run lives.

    Raises:
        ConfigError: it holds something else.
    """
    partial = out.with_name(out.name + ".partial")
    if partial.exists() and not (partial.is_dir() and all(map(_is_own, partial.iterdir()))):
        raise ConfigError(f"{partial}, where the unfinished run would live, holds something else; give another --out")
    return partial


def _is_own(path: Path) -> bool:
    return path.name in _OWN or path.name.startswith(_UNFINISHED)
