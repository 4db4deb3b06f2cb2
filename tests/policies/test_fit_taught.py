"""Training by a reward in place of choices: what is taught, and that it is that which is learnt."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from policy_problems import Camps, camp_reward, camps, fit, pairs_of, short, small, weights
from torch import Tensor
from torch.testing import assert_close

from tacit.choices import ChoiceIndex
from tacit.engines import Base
from tacit.episodes.batch import ChoiceBatch
from tacit.errors import ConfigError
from tacit.policies.pairs import PolicyPairs
from tacit.policies.teacher import Rewards, Teacher, inferred_rewards
from tacit.steering import PolicyConfig

TAUGHT = short(teacher="reward")


@pytest.fixture(scope="module")
def world() -> Camps:
    return camps(users=6, choices=6, prompts=16)


def taught(base: Base, world: Camps, train: ChoiceIndex, *, compared: int = 8, **settings: Any) -> PolicyPairs:
    """What `fit_policy` trains on; all known answers to a prompt are compared, or `compared`."""
    rewards = inferred_rewards(camp_reward(), world.vectors)
    teacher = Teacher.build(world.items, train.occurring(len(world.items)), rewards, compared=compared)
    return pairs_of(base, train, world.items, world.vectors, teacher=teacher, **settings)


def letter(world: Camps, *, sign: float = 1.0) -> Rewards:
    """What users of either camp want, or what they do not want."""
    of_item = torch.tensor([1.0 if text[0] == "a" else -1.0 for _, text in world.items])

    def rewards(users: Tensor, items: Tensor, z: Tensor) -> Tensor:
        camp = 1.0 - 2.0 * (users // 2 % 2).float()
        return 2 * sign * camp.unsqueeze(1) * of_item[items]

    return rewards


# -- a batch -----------------------------------------------------------------------------------------------------------


def test_a_taught_batch_is_of_the_teachers_pairs(shared_base: Base, world: Camps) -> None:
    """The rest is as the choices have it."""
    found = taught(shared_base, world, world.train)
    numbers = torch.tensor([3, 8, 17, 30])
    drawn = [(1, number) for number in numbers.tolist()]
    batch, plain = found.collate(drawn), replace(found, teacher=None).collate(drawn)
    assert found.teacher is not None
    users = world.train.user[found.choice[numbers]]
    items, gap = found.teacher.pairs(users, found.pairs[numbers, 1], batch["z"], numbers)
    tokens = [shared_base.tokenizer.decode(ids[m.bool()]) for ids, m in zip(batch["ids"], batch["mask"], strict=True)]
    assert tokens == ["<s>{}\n{}</s>".format(*world.items[item]) for item in items.flatten().tolist()]
    assert torch.equal(batch["gap"], gap)
    assert torch.equal(batch["reference"], -items.float())
    assert batch["response"].tolist() == [len(world.items[item][1]) + 1 for item in items.flatten().tolist()]
    for name in ("z", "weight", "tie"):
        assert torch.equal(batch[name], plain[name])
    assert "gap" not in plain
    assert not torch.equal(batch["reference"], plain["reference"]), "the choices happen to be the teacher's pairs"


def test_only_answers_of_training_choices_are_taught(shared_base: Base, world: Camps) -> None:
    """Those that only validation has seen are known to nobody."""
    some = world.train.select(world.train.items[:, 0] % 4 != 0)
    teacher = taught(shared_base, world, some).teacher
    assert teacher is not None
    known = teacher.answers[teacher.answers >= 0]
    assert known.sort().values.tolist() == some.items.unique().tolist()
    assert len(known) < len(world.train.items.unique())


def test_other_answers_are_compared_in_every_epoch(shared_base: Base, world: Camps) -> None:
    """As many, and the same ones in the same epoch, for one seed."""
    found = taught(shared_base, world, world.train, compared=2)
    batches = [found.collate([(epoch, number) for number in range(len(found))])["reference"] for epoch in (0, 1, 0)]
    assert torch.equal(batches[0], batches[2])
    changed = (batches[0] != batches[1]).any(1).float().mean()
    assert 0.5 < changed < 1, "of 4 answers to a prompt, 6 pairs can be drawn"
    other = taught(shared_base, world, world.train, compared=2, seed=1)
    assert not torch.equal(other.collate([(0, number) for number in range(len(found))])["reference"], batches[0])


def test_a_taught_policy_reads_everything_its_user_chose(
    shared_base: Base, world: Camps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the pair, and however few choices a context would have; one that learns from choices reads contexts."""
    seen: list[PolicyPairs] = []
    monkeypatch.setattr("tacit.policies.fit.set_scales", lambda modulator, pairs, *_, **__: seen.append(pairs))
    for teacher in ("reward", "choices"):
        training = short(teacher=teacher, max_context=2, max_steps=1, eval_steps=1)
        fit(shared_base, tmp_path / teacher, world, training=training)
    numbers = torch.arange(len(seen[0]))
    reward, train = camp_reward(), world.train
    chosen = world.vectors[train.items].view(train.n_users, -1, 2, world.vectors.shape[1])
    whole = reward.posterior(reward.infer(ChoiceBatch.pairs(chosen[:, :, 0], chosen[:, :, 1]))).mean
    z = seen[0].collate([(1, number) for number in numbers.tolist()])["z"]
    assert_close(z, whole[train.user[seen[0].choice]], rtol=1e-4, atol=1e-5)
    drawn = seen[1].collate([(1, number) for number in numbers.tolist()])["z"]
    assert (drawn - z).norm(dim=1).min() > 1e-3


# -- training ----------------------------------------------------------------------------------------------------------


def test_a_policy_learns_what_it_is_taught_and_not_what_was_chosen(shared_base: Base, tmp_path: Path) -> None:
    """By rewards that are the opposite of all choices."""
    world = camps(prompts=24)
    training = short(teacher="reward", max_steps=60, eval_steps=60, per_device_train_batch_size=12, max_context=8)
    for sign in (1.0, -1.0):
        policy = fit(
            shared_base, tmp_path / str(sign), world, training=training, config=small(rank=4),
            rewards=(letter(world, sign=sign),) * 2,
        )  # fmt: skip
        accuracy = policy.notes["validation_accuracy_k10"]
        assert accuracy > 0.95 if sign > 0 else accuracy < 0.05
        assert policy.notes["training"]["teacher"] == "reward"


def test_given_rewards_are_asked_about_the_users_and_z_of_training(
    shared_base: Base, world: Camps, tmp_path: Path
) -> None:
    told = torch.arange(1.0, 7).unsqueeze(1).expand(-1, 2), -torch.ones(world.validation.n_users, 2)
    asked, validated = [], []

    def heard(by: list[tuple[Tensor, Tensor, Tensor]]) -> Rewards:
        def rewards(users: Tensor, items: Tensor, z: Tensor) -> Tensor:
            by.append((users, items, z))
            return letter(world)(users, items, z)

        return rewards

    fit(shared_base, tmp_path, world, training=TAUGHT, told=told, rewards=(heard(asked), heard(validated)))
    assert len(asked) >= 6
    assert validated
    assert all(bool((z == -1).all()) and int(users.max()) < world.validation.n_users for users, _, z in validated)
    for users, items, z in asked:
        assert_close(z, told[0][users])
        assert len(items) == len(users)
        assert set(items.flatten().tolist()) <= set(world.train.items.unique().tolist()) | {0}
    assert len(torch.cat([users for users, _, _ in asked]).unique()) > 3
    assert max(items.shape[1] for _, items, _ in asked) == 4


def test_what_is_equally_good_teaches_nothing(shared_base: Base, world: Camps, tmp_path: Path) -> None:
    """While choices of the same prompts would."""
    moved = {}
    for name, rewards in (("equal", lambda users, items, z: torch.zeros(items.shape)), ("other", letter(world))):
        policy = fit(shared_base, tmp_path / name, world, training=TAUGHT, rewards=(rewards, rewards))
        with torch.no_grad():
            moved[name] = max(float(up.abs().max()) for up in policy.modulator.get_submodule("up").parameters())
    assert moved["equal"] == 0
    assert moved["other"] > 0.001


def test_the_inferred_reward_teaches_unless_another_is_given(shared_base: Base, world: Camps, tmp_path: Path) -> None:
    policies = {
        "inferred": fit(shared_base, tmp_path / "inferred", world, training=TAUGHT),
        "given": fit(shared_base, tmp_path / "given", world, training=TAUGHT, rewards=(letter(world),) * 2),
        "choices": fit(shared_base, tmp_path / "choices", world, training=short()),
        "ignored": fit(shared_base, tmp_path / "ignored", world, training=short(), rewards=(letter(world),) * 2),
    }
    found = {name: weights(policy) for name, policy in policies.items()}
    assert torch.equal(found["ignored"], found["choices"])
    assert not torch.equal(found["inferred"], found["choices"])
    assert not torch.equal(found["inferred"], found["given"])


def test_another_teacher_is_another_run(shared_base: Base, world: Camps, tmp_path: Path) -> None:
    found = [
        weights(
            fit(
                shared_base,
                tmp_path / "run",
                world,
                training=TAUGHT,
                rewards=(letter(world, sign=sign),) * 2,
                restart=sign < 0,
            )
        )
        for sign in (1.0, -1.0)
    ]
    alone = fit(shared_base, tmp_path / "alone", world, training=TAUGHT, rewards=(letter(world, sign=-1.0),) * 2)
    assert torch.equal(found[1], weights(alone))
    assert not torch.equal(found[0], found[1])


def test_a_told_policy_has_no_reward_to_learn_from(shared_base: Base, world: Camps, tmp_path: Path) -> None:
    told = torch.zeros(world.train.n_users, 2), torch.zeros(world.validation.n_users, 2)
    with pytest.raises(ConfigError, match="give rewards, or teacher='choices'") as caught:
        fit(shared_base, tmp_path / "run", world, training=TAUGHT, told=told)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists(), "it was refused too late"


def test_a_soft_token_learns_the_camps_too(shared_base: Base, tmp_path: Path) -> None:
    training = short(
        teacher="reward", max_steps=120, eval_steps=120, per_device_train_batch_size=12, max_context=8,
        learning_rate=0.03,
    )  # fmt: skip
    policy = fit(
        shared_base,
        tmp_path,
        camps(prompts=24),
        training=training,
        config=PolicyConfig.model_validate({"modulator": "soft_token"}),
    )
    assert policy.notes["validation_accuracy_k10"] > 0.8
