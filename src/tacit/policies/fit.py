"""Training a policy: NP-DPO, with latents, and by default the lessons too, from a reward model that is there."""

import hashlib
import json
import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tacit.choices.index import ChoiceIndex
from tacit.engines.transformers.base import Base
from tacit.episodes.batch import ChoiceBatch
from tacit.errors import ConfigError
from tacit.evaluation.episodes import evaluation_episodes
from tacit.events import Listener, counting
from tacit.policies.base_answers import more_answers
from tacit.policies.base_log_probs import reference_log_probs
from tacit.policies.implicit_reward import ImplicitChoices, direction, implicit_choices
from tacit.policies.latent_scaling import set_scales
from tacit.policies.pairs import PolicyPairs, Row, context_latents, tokenise, user_latents
from tacit.policies.policy import SteerablePolicy
from tacit.policies.steered_pairs import SteeredPairs
from tacit.policies.teacher import Rewards, Teacher, inferred_rewards
from tacit.policies.trainer import PolicyTrainer
from tacit.policies.training_config import PolicyTrainingConfig
from tacit.policies.tuned_encoder import TunedEncoder
from tacit.rewards.model import RewardModel
from tacit.steering.config import PolicyConfig
from tacit.training.run_log import RunLog

__all__ = ["choice_evidence", "fit_policy"]

KS = (0, 1, 5, 10)
_AT_ONCE = 4096
_MOST = 1024  # choices that validation infers z from


def fit_policy(
    base: Base,
    reward: RewardModel,
    items: Sequence[tuple[str, str]],
    vectors: Tensor,
    train: ChoiceIndex,
    validation: ChoiceIndex,
    *,
    folder: Path,
    target_groups: Tensor | None = None,
    config: PolicyConfig | None = None,
    training: PolicyTrainingConfig | None = None,
    told: tuple[Tensor, Tensor] | None = None,
    rewards: tuple[Rewards, Rewards] | None = None,
    embed: Callable[[Sequence[tuple[str, str]]], Tensor] | None = None,
    restart: bool = False,
    on_event: Listener | None = None,
) -> SteerablePolicy:
    """Train a policy and return it at its best validation loss.

    Args:
        base: stays as it is.
        reward: turns contexts into z; frozen, but for `encoder_learning_rate`, which makes another one of it.
        items: (prompt, response) texts by item id.
        vectors: Float[items dim], as the reward model reads items.
        train, validation: choices of different users.
        folder: for checkpoints, `metrics.jsonl`, written answers and reference log-probabilities; a killed run goes
            on from there.
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
        ConfigError: the loss is not finite.
        OutputError: `folder` holds a checkpoint of other data or settings.
    """
    config, training = config or PolicyConfig(), training or PolicyTrainingConfig()
    teaches = training.teacher == "reward"
    if told is not None and rewards is None and teaches:
        raise ConfigError("a policy that is told z has no reward to learn from; give rewards, or teacher='choices'")
    if training.encoder_learning_rate and (told is not None or teaches):
        raise ConfigError("encoder_learning_rate needs z inferred from contexts; use teacher='choices', or set it to 0")
    if training.encoder_learning_rate and not training.max_context:
        raise ConfigError("encoder_learning_rate without max_context has no choices to read; set it to 0")
    tuned = TunedEncoder(reward) if training.encoder_learning_rate else None
    folder.mkdir(parents=True, exist_ok=True)
    log = RunLog("policy", folder, on_event)
    latent = None if told is None else told[0].shape[1]
    policy = SteerablePolicy.new(base, reward, config, latent=latent, seed=training.seed)
    compared = train.occurring(len(items))
    rows = tokenise(policy.dialogue, items, compared | validation.occurring(len(items)))
    processes, written = int(os.environ.get("WORLD_SIZE", "1")), []  # as launchers say
    if teaches and training.written and embed is not None and told is None and rewards is None:
        written = more_answers(
            policy.dialogue, items, compared, training, file=folder / "written.json",
            most=training.steps(len(train), processes) * training.pairs_per_step(processes) // 2,
            progress=counting(log, "writing answers"),
        )  # fmt: skip
    if written and embed is not None:
        new = embed(written).half().float()  # as stored vectors are
        readable = new.isfinite().all(1)
        written = [item for item, fine in zip(written, readable.tolist(), strict=True) if fine]
        items, vectors = [*items, *written], torch.cat([vectors, new[readable]])
        compared = torch.cat([compared, torch.ones(len(written), dtype=torch.bool)])
        rows = [*rows, *tokenise(policy.dialogue, written, compared[len(rows) :])]
    reference = reference_log_probs(
        policy.dialogue, rows, file=folder / "reference.safetensors",
        progress=counting(log, "asking the base for its log-probabilities"),
    )  # fmt: skip
    inferred = None if told is not None else inferred_rewards(reward, vectors)
    taught = rewards or (inferred and (inferred, inferred)) if teaches else None
    evidence = choice_evidence(reward, train, vectors)
    known = user_latents(reward, train, evidence) if told is None else told[0]
    asked = taught[0] if taught else inferred
    teacher = asked and Teacher.build(items, compared, asked, compared=training.compared, written=len(written))
    pairs = PolicyPairs.build(
        train, evidence, rows, reference, reward, policy.dialogue, max_context=training.max_context, seed=training.seed,
        told=known if told or taught else None, teacher=teacher if taught else None,
        vectors=None if tuned is None else vectors,
    )  # fmt: skip
    steps = training.steps(len(pairs), processes)
    training = training.model_copy(update={"max_steps": steps})
    set_scales(policy.modulator, pairs, known, teacher, told=told is not None)
    nobody = torch.zeros(validation.n_users, known.shape[1])
    lesson = (*_lesson(pairs), _values(validation, taught[1], told[1] if told else nobody)) if taught else ()
    run = _fingerprint(policy, training, (train, validation), rows, (vectors, target_groups, *(told or ()), *lesson))
    with _randomness_kept():
        steered = SteeredPairs(policy, training, tuned)
        trainer = PolicyTrainer(
            steered, pairs, training,
            _validation(
                policy, tuned, validation, vectors, rows, reference, target_groups, training,
                None if told is None else told[1], None if taught is None else taught[1],
            ),
            folder=folder, run=run, emit=log,
        )  # fmt: skip
        resumed = trainer.resumable(restart=restart)
        log.begin(trainer.progress.step, training.report_to, here=trainer.is_world_process_zero())
        log({"event": "start", "name": "policy", "step": trainer.progress.step, "steps": steps})
        result = trainer.train(resume_from_checkpoint=resumed)
        if trainer.progress.validated < trainer.state.global_step:  # the first transformers 5 left out the last step
            trainer.evaluate()
    steered.learnt.load_state_dict(trainer.best, strict=True)
    policy.modulator.eval().requires_grad_(False)
    if tuned is not None:
        policy.steering.remove()
        policy = SteerablePolicy(base, policy.modulator, tuned.model(), config)
    progress = trainer.progress
    log({"event": "end", "name": "policy", "step": progress.step, "steps": steps})
    policy.notes.update({
        "training": training.model_dump(mode="json"), "steps": progress.step, "best_step": progress.best_step,
        "answers_written": len(written), "seconds": result.metrics.get("train_runtime", 0.0),
        **{f"validation_{name}": value for name, value in progress.best.items()},
    })  # fmt: skip
    return policy


def _lesson(pairs: PolicyPairs) -> tuple[Tensor, ...]:
    """What the teacher says of some pairs, to tell one teacher from another; coarse, since last digits may differ."""
    if pairs.teacher is None:
        return ()
    some = torch.arange(min(256, len(pairs)))
    users, items = pairs.index.user[pairs.choice[some]], pairs.pairs[some, 0]
    best_and_worst, gap = pairs.teacher.pairs(users, items, pairs.latents(some, 0), some)
    return best_and_worst, gap.mul(100).round()


def _values(validation: ChoiceIndex, taught: Rewards, z: Tensor) -> Tensor:
    """What the teacher of validation says of some answers there, as coarsely; z Float[users latent]."""
    users, items = validation.user[:256], validation.items[:256].clamp(min=0)
    return taught(users, items, z[users]).mul(100).round()


def choice_evidence(reward: RewardModel, index: ChoiceIndex, vectors: Tensor) -> Tensor:
    """What each choice tells of its user, Float64[choices evidence]: worked out once, since it depends on no other."""
    parts = []
    for rows in torch.arange(len(index)).split(_AT_ONCE):
        batch = ChoiceBatch(
            vectors[index.items[rows]].unsqueeze(1), index.rank[rows].unsqueeze(1), index.weight[rows].unsqueeze(1)
        )
        parts.append(reward.evidence(batch).squeeze(1))
    return torch.cat(parts) if parts else torch.zeros(0, reward.network.encoder.evidence_dim, dtype=torch.float64)


def _validation(
    policy: SteerablePolicy,
    tuned: TunedEncoder | None,
    validation: ChoiceIndex,
    vectors: Tensor,
    rows: Sequence[Row | None],
    reference: Tensor,
    target_groups: Tensor | None,
    training: PolicyTrainingConfig,
    told: Tensor | None,
    taught: Rewards | None,
) -> Callable[[], dict[str, float]]:
    """Loss and accuracy on users and groups that are not trained on: by k, and by side of the main axis of users.

    The loss is of the choices made there or, under a teacher, of the gaps that the teacher sees between their answers,
    with z as in training: from everything that is known.
    """
    some = validation.user.unique()[: training.eval_users]
    index = validation.of_users(some)
    most = min(int(index.counts.max()), _MOST) if taught is not None and len(index.counts) else 0
    episodes = evaluation_episodes(
        index, max_k=max(*KS, most), max_targets=training.eval_pairs, target_groups=target_groups, seed=training.seed
    )
    known = policy.reward, choice_evidence(policy.reward, index, vectors)
    told = None if told is None else told[some][episodes.users]

    def ask(ks: Sequence[int], z: Tensor | None) -> ImplicitChoices:
        reward, evidence = known
        if tuned is not None:
            reward = tuned.model()
            evidence = choice_evidence(reward, index, vectors)
        return implicit_choices(policy, episodes, evidence, rows, reference, ks, told=z, reward=reward)

    def distance(taught: Rewards) -> Tensor:
        """From the teacher's gaps: Float64[1 users]."""
        z = context_latents(known[0], index, known[1], episodes.context) if told is None else told
        items = episodes.targets.clamp(min=0)
        values = taught(some[episodes.users], items.flatten(1), z).view(items.shape)
        return ask((0,), z).distance(training.beta, (values[..., 0] - values[..., 1]).unsqueeze(0))

    def validate() -> dict[str, float]:
        found = ask(KS, told)
        accuracy = found.accuracy()
        side = direction(found.z[-1]) if len(found.z[-1]) > 1 else torch.ones(len(found.z[-1]), dtype=torch.bool)
        loss = found.loss(training.beta)[found.has] if taught is None else distance(taught)
        numbers = {"loss": float(loss.mean()), "accuracy": float(accuracy.nanmean())}  # a NaN of the policy's must show
        for place, k in enumerate(KS):
            numbers[f"accuracy_k{k}"] = float(accuracy[place].nanmean())
        for name, users in (("one", side), ("other", ~side)):
            numbers[f"accuracy_{name}_side"] = float(accuracy[-1, users].nanmean())
        if not np.isfinite(numbers["loss"]):
            raise ConfigError(f"the policy's validation loss is {numbers['loss']}; lower learning_rate")
        return {name: value for name, value in numbers.items() if np.isfinite(value)}

    return validate


def _fingerprint(
    policy: SteerablePolicy,
    training: PolicyTrainingConfig,
    indices: Sequence[ChoiceIndex],
    rows: Sequence[Row | None],
    tensors: Sequence[Tensor | None],
) -> str:
    """Of everything that the trajectory, and what is best on it, depends on."""
    digest = hashlib.blake2b(digest_size=8)
    reward = policy.reward
    said = [policy.base.fingerprint, reward.fingerprint, reward.half_life, policy.config.model_dump_json(), rows]
    tensors = [*tensors, *(value.flatten() for value in reward.network.state_dict().values())]
    digest.update(json.dumps([*said, training.model_dump_json(exclude={"report_to"})]).encode())
    columns = [
        column
        for index in indices
        for column in (index.user, index.items, index.rank, index.weight, index.group, index.timestamp)
    ]
    for part in (*columns, *tensors):
        digest.update(b"" if part is None else part.contiguous().cpu().numpy().data)
    return digest.hexdigest()


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
