"""From a table of preferences and a reward model to a trained policy: what `tacit train-policy` does."""

import shutil
from functools import partial
from pathlib import Path

from tacit.choices.table import ChoiceTable
from tacit.embedders import SuppliedVectors
from tacit.embedders.table import item_vectors, text_vectors
from tacit.events import Listener, counting
from tacit.files import atomic_folder, first_process
from tacit.policies import PolicyConfig, PolicyTrainingConfig, SteerablePolicy, fit_policy, load_base, reward_embedder
from tacit.policies.storage import write_policy_files
from tacit.rewards.model import RewardModel
from tacit.training.unfinished import unfinished_run
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
        overwrite: replace a policy that `out` holds, and start anew where an unfinished run has other settings.
        on_event: receives training events.

    Raises:
        ChoiceError: too few users or choices, an empty response, or one that is too long.
        ConfigError: a base that is missing or cannot be steered, settings that do not fit it, or a loss that diverges.
        EmbeddingError, StateMismatchError: the reward model's embedder is missing or another one.
        OutputError: `out` holds a policy or an unfinished run of other settings, or another run is writing it.
    """
    training = training or PolicyTrainingConfig()
    with unfinished_run(out, own="reward/config.json", overwrite=overwrite, is_part=_is_part) as unfinished:
        parts = training_parts(table, training.seed)
        loaded = load_base(base, device=device, dtype=dtype)
        embedder = reward_embedder(reward, loaded)
        vectors = item_vectors(table, embedder, progress=counting(on_event, "embedding"))
        told = counting(on_event, "embedding answers")
        embed = partial(text_vectors, embedder=embedder, progress=told)
        policy = fit_policy(
            loaded, reward, table.item_texts(), vectors, parts.train, parts.validation, folder=unfinished,
            target_groups=parts.target_groups, config=config, training=training, restart=overwrite,
            embed=None if isinstance(embedder, SuppliedVectors) else embed,
            on_event=on_event,
        )  # fmt: skip
        if first_process():
            with atomic_folder(out) as folder:
                write_policy_files(policy, folder)
                shutil.copyfile(unfinished / "metrics.jsonl", folder / "metrics.jsonl")
    return policy


def _is_part(name: str) -> bool:
    return name in _OWN or name.startswith(_UNFINISHED)
