"""Training a policy: NP-DPO, with latents, and by default the lessons too, from a reward model that is there."""

import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tacit.choices.index import ChoiceIndex
from tacit.embedders.embedder import Item
from tacit.engines.transformers.base import Base
from tacit.engines.transformers.engine import TransformersEngine
from tacit.errors import ChoiceError, ConfigError
from tacit.events import Listener, counting
from tacit.policies.base_answers import more_answers
from tacit.policies.base_log_probs import reference_log_probs
from tacit.policies.implicit_reward import policy_validation
from tacit.policies.latent_scaling import set_scales
from tacit.policies.latents import choice_evidence, user_latents
from tacit.policies.pairs import PolicyPairs, Row, tokenise
from tacit.policies.run_fingerprint import lesson, run_fingerprint, validation_lesson
from tacit.policies.steered_pairs import SteeredPairs, TunedEncoder, checkpointed
from tacit.policies.teacher import Rewards, Teacher, inferred_rewards
from tacit.policies.trainer import PolicyTrainer
from tacit.policies.training_config import PolicyTrainingConfig
from tacit.rewards.model import RewardModel
from tacit.steering.config import PolicyConfig
from tacit.steering.policy import SteerablePolicy
from tacit.training.checkpoint import Progress
from tacit.training.run_log import RunLog

__all__ = ["fit_policy"]

Embed = Callable[[Sequence[Item]], Tensor]


def fit_policy(
    base: Base,
    reward: RewardModel,
    items: Sequence[Item],
    vectors: Tensor,
    train: ChoiceIndex,
    validation: ChoiceIndex,
    *,
    folder: Path,
    rows: Sequence[Row | None] | None = None,
    target_groups: Tensor | None = None,
    config: PolicyConfig | None = None,
    training: PolicyTrainingConfig | None = None,
    told: tuple[Tensor, Tensor] | None = None,
    rewards: tuple[Rewards, Rewards] | None = None,
    embed: Embed | None = None,
    restart: bool = False,
    on_event: Listener | None = None,
) -> SteerablePolicy:
    """Train a policy and return it at its best validation loss.

    Args:
        base: is as it was afterwards.
        reward: turns contexts into z; frozen, but for `encoder_learning_rate`, which makes another one of it.
        items: (prompt key, response) by item id.
        vectors: Float[items dim], as the reward model reads items.
        train, validation: choices of different users.
        folder: for checkpoints, `metrics.jsonl`, written answers and reference log-probabilities; a killed run goes
            on from there.
        rows: of the items, where `tokenise` has been asked already.
        told: z of the users of `train` and of `validation`, Float[users latent] each: instead of inferring z a policy
            then learns to follow it. The true tastes make an upper line, zeros plain DPO for everybody.
        rewards: of the users of `train` and of `validation`, in place of what `reward` infers, for `teacher="reward"`.
        embed: vectors of more items, Float[items dim]: allows the base to write answers (`training.written`) for what
            `reward` infers to compare.
        target_groups: Bool[groups], what validation asks about; else groups are divided by hashes.
        restart: start anew where `folder` holds a checkpoint of other data or settings.
        on_event: receives training events; must be quick.

    Raises:
        ChoiceError: no choices, or responses that cannot be trained on.
        ConfigError: settings that contradict each other, or a loss that is not finite.
        OutputError: `folder` holds a checkpoint of other data or settings.
    """
    config, training = config or PolicyConfig(), training or PolicyTrainingConfig()
    teaches = training.teacher == "reward"
    _check(training, told, rewards)
    tuned = TunedEncoder(reward) if training.encoder_learning_rate else None
    folder.mkdir(parents=True, exist_ok=True)
    log = RunLog("policy", folder, on_event)
    latent = None if told is None else told[0].shape[1]
    policy = SteerablePolicy.new(base, reward, config, latent=latent, seed=training.seed)
    policy.modulator.to(base.device)  # nobody else's yet: the engine trains these very weights
    with TransformersEngine(base, policy) as engine:
        compared = train.occurring(len(items))
        if rows is None:
            rows = _rows(engine, items, compared | validation.occurring(len(items)), log)
        known = _Known(items, vectors, rows, compared)
        if teaches and training.written and embed is not None and told is None and rewards is None:
            known = _with_written(engine, known, training, len(train), embed, folder, log)
        reference = reference_log_probs(
            engine, known.rows, file=folder / "reference.safetensors",
            progress=counting(log, "asking the base for its log-probabilities"),
        )  # fmt: skip
        inferred = None if told is not None else inferred_rewards(reward, known.vectors)
        taught = rewards or (inferred and (inferred, inferred)) if teaches else None
        evidence = choice_evidence(reward, train, known.vectors)
        latents = user_latents(reward, train, evidence) if told is None else told[0]
        asked = taught[0] if taught else inferred
        teacher = asked and Teacher.build(
            known.items, known.compared, asked, compared=training.compared, written=known.written
        )
        pairs = PolicyPairs.build(
            train, evidence, known.rows, reference, reward, engine.dialogue, max_context=training.max_context,
            seed=training.seed, told=latents if told or taught else None, teacher=teacher if taught else None,
            vectors=None if tuned is None else known.vectors,
        )  # fmt: skip
        training = training.model_copy(update={"max_steps": training.steps(len(pairs), _processes())})
        set_scales(policy.modulator, pairs, latents, teacher, told=told is not None)
        z = told[1] if told else torch.zeros(validation.n_users, latents.shape[1])
        taught_so = (*lesson(pairs), validation_lesson(validation, taught[1], z)) if taught else ()
        run = run_fingerprint(
            policy, training, (train, validation), known.rows, (known.vectors, target_groups, *(told or ()), *taught_so)
        )
        validate = policy_validation(
            engine, tuned, validation, known.vectors, known.rows, reference, target_groups, training,
            told=None if told is None else told[1], taught=None if taught is None else taught[1],
        )  # fmt: skip
        progress, seconds = _train(engine, pairs, training, tuned, validate, folder, run, log, restart=restart)
    policy.modulator.to("cpu").eval().requires_grad_(False)
    if tuned is not None:
        policy = SteerablePolicy(policy.modulator, tuned.model(), policy.base, config)
    policy.notes.update({
        "training": training.model_dump(mode="json"), "steps": progress.step, "best_step": progress.best_step,
        "answers_written": known.written, "seconds": seconds,
        **{f"validation_{name}": value for name, value in progress.best.items()},
    })  # fmt: skip
    return policy


# -- what is trained on ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Known:
    """Answers as texts, vectors and tokens.

    Shapes:
        vectors: Float[items dim].
        compared: Bool[items], those that a teacher may compare.
        written: how many of the last items the base wrote.
    """

    items: Sequence[Item]
    vectors: Tensor
    rows: Sequence[Row | None]
    compared: Tensor
    written: int = 0


def _check(
    training: PolicyTrainingConfig, told: tuple[Tensor, Tensor] | None, rewards: tuple[Rewards, Rewards] | None
) -> None:
    teaches = training.teacher == "reward"
    if told is not None and rewards is None and teaches:
        raise ConfigError("a policy that is told z has no reward to learn from; give rewards, or teacher='choices'")
    if training.encoder_learning_rate and (told is not None or teaches):
        raise ConfigError("encoder_learning_rate needs z inferred from contexts; use teacher='choices', or set it to 0")
    if training.encoder_learning_rate and not training.max_context:
        raise ConfigError("encoder_learning_rate without max_context has no choices to read; set it to 0")


def _rows(engine: TransformersEngine, items: Sequence[Item], used: Tensor, log: RunLog) -> list[Row | None]:
    rows, faults = tokenise(engine.dialogue, items, used, progress=counting(log, "tokenising"))
    if faults:
        first, cause = next(iter(faults.items()))
        raise ChoiceError(f"{cause} (item {first}, {len(faults)} such in all)")
    return rows


def _with_written(
    engine: TransformersEngine,
    known: _Known,
    training: PolicyTrainingConfig,
    choices: int,
    embed: Embed,
    folder: Path,
    log: RunLog,
) -> _Known:
    """And answers by the base to prompts of few."""
    written = more_answers(
        engine, known.items, known.compared, training, file=folder / "written.json",
        most=training.steps(choices, _processes()) * training.pairs_per_step(_processes()) // 2,
        progress=counting(log, "writing answers"),
    )  # fmt: skip
    if not written:
        return known
    new = embed(written).half().float()  # as stored vectors are
    readable = new.isfinite().all(1)
    written = [item for item, fine in zip(written, readable.tolist(), strict=True) if fine]
    rows, faults = tokenise(engine.dialogue, written, torch.ones(len(written), dtype=torch.bool))
    assert not faults, "the base wrote what it cannot read"
    return _Known(
        [*known.items, *written], torch.cat([known.vectors, new[readable]]), [*known.rows, *rows],
        torch.cat([known.compared, torch.ones(len(written), dtype=torch.bool)]), len(written),
    )  # fmt: skip


def _processes() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))  # as launchers say


# -- the run -----------------------------------------------------------------------------------------------------------


def _train(
    engine: TransformersEngine,
    pairs: PolicyPairs,
    training: PolicyTrainingConfig,
    tuned: TunedEncoder | None,
    validate: Callable[[], dict[str, float]],
    folder: Path,
    run: str,
    log: RunLog,
    *,
    restart: bool,
) -> tuple[Progress, float]:
    """Train the engine's policy to its best weights: how far that came, and how many seconds it took."""
    with _randomness_kept(), checkpointed(engine.base.model) if training.activation_checkpointing else nullcontext():
        steered = SteeredPairs(engine, training, tuned)
        trainer = PolicyTrainer(steered, pairs, training, validate, folder=folder, run=run, emit=log)
        resumed = trainer.resumable(restart=restart)
        steps = training.max_steps
        log.begin(trainer.progress.step, training.report_to, here=trainer.is_world_process_zero())
        log({"event": "start", "name": "policy", "step": trainer.progress.step, "steps": steps})
        result = trainer.train(resume_from_checkpoint=resumed)
        if trainer.progress.validated < trainer.state.global_step:  # the first transformers 5 left out the last step
            trainer.evaluate()
    steered.learnt.load_state_dict(trainer.best, strict=True)
    log({"event": "end", "name": "policy", "step": trainer.progress.step, "steps": steps})
    return trainer.progress, result.metrics.get("train_runtime", 0.0)


@contextmanager
def _randomness_kept() -> Iterator[None]:
    """`Trainer` seeds every global state when it is made; afterwards they are what they were."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    kept = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])  # noqa: NPY002
        torch.set_rng_state(kept[2])
        for device, state in enumerate(cuda):
            torch.cuda.set_rng_state(state, device)
