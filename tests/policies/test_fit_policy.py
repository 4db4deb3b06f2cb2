"""What training a policy comes to: two camps that want opposite things are both served, by their contexts alone."""

import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from policy_problems import Camps, camp_reward, camps, fit, short, small
from torch import Tensor

from tacit.engines import Base, TransformersEngine
from tacit.evaluation.episodes import EvaluationEpisodes, evaluation_episodes
from tacit.policies.base_log_probs import reference_log_probs
from tacit.policies.implicit_reward import ImplicitChoices, direction, implicit_choices, policy_validation
from tacit.policies.latents import choice_evidence
from tacit.policies.pairs import tokenise

LEARN: dict[str, Any] = {"max_steps": 60, "eval_steps": 20, "per_device_train_batch_size": 12}


@pytest.fixture(scope="module")
def world() -> Camps:
    return camps(prompts=24)


class Run:
    """A policy that was trained, with what was said and left behind meanwhile."""

    def __init__(self, base: Base, world: Camps, folder: Path, **settings: Any) -> None:
        self.base, self.folder, self.events = base, folder, []
        before = [p.clone() for p in base.model.parameters()]
        states = global_states()
        known = {"training": short(**LEARN), "config": small(rank=4)} | settings
        self.policy = fit(base, folder, world, on_event=self.events.append, **known)
        self.states_kept = states == global_states()
        self.base_kept = all(torch.equal(a, b) for a, b in zip(before, base.model.parameters(), strict=True))

    def found(self, name: str) -> float:
        return self.policy.notes[f"validation_{name}"]

    def validations(self) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == "validation"]


def global_states() -> list[object]:
    return [random.getstate(), str(np.random.get_state()), torch.get_rng_state().tolist()]  # noqa: NPY002


@pytest.fixture(scope="module")
def learnt(shared_base: Base, world: Camps, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(shared_base, world, tmp_path_factory.mktemp("learnt"))


def asked(run: Run, world: Camps, ks: tuple[int, ...], **settings: Any) -> ImplicitChoices:
    """Every validation user on the prompts that nobody trained on."""
    reward = run.policy.reward
    with TransformersEngine(run.base, run.policy) as engine:
        rows, _ = tokenise(engine.dialogue, world.items, torch.ones(len(world.items), dtype=torch.bool))
        evidence = choice_evidence(reward, world.validation, world.vectors)
        reference = reference_log_probs(engine, rows)
        return implicit_choices(engine, reward, episodes_of(world), evidence, rows, reference, ks, **settings)


def episodes_of(world: Camps) -> EvaluationEpisodes:
    return evaluation_episodes(world.validation, max_k=10, target_groups=world.target_groups)


# -- learning ----------------------------------------------------------------------------------------------------------


def test_training_lowers_the_loss_and_serves_both_camps(learnt: Run) -> None:
    losses = [event["loss"] for event in learnt.validations()]
    assert losses[-1] < losses[0] < math.log(2)
    assert losses[-1] < 0.4 * math.log(2), "a quarter of it is of strangers, who cannot be served"
    assert learnt.found("accuracy_k10") > 0.95
    assert learnt.found("accuracy_one_side") > 0.9
    assert learnt.found("accuracy_other_side") > 0.9
    assert learnt.found("accuracy_k0") < 0.7, "a stranger cannot be served in both ways"


def test_every_user_of_either_camp_is_served(learnt: Run, world: Camps) -> None:
    found = asked(learnt, world, (0, 1, 5, 10))
    accuracy = found.accuracy()
    assert accuracy.shape == (4, 8)
    assert accuracy[3].min() > 0.8
    assert accuracy[3].mean() > accuracy[0].mean() + 0.3
    assert found.loss(0.1)[3].mean() < found.loss(0.1)[0].mean()


def test_the_sides_are_the_camps(learnt: Run, world: Camps) -> None:
    side = direction(asked(learnt, world, (10,)).z[0])
    assert torch.equal(side, world.kind.bool()) or torch.equal(~side, world.kind.bool())


def test_the_two_sides_are_measured_apart(learnt: Run, world: Camps) -> None:
    """Everybody is taken for one camp, but for a trace that tells the sides: one is served, the other is not."""
    first = asked(learnt, world, (10,)).z[0][world.kind == 0].mean(0)
    told = first + 0.01 * (1 - 2 * world.kind.unsqueeze(1))
    with TransformersEngine(learnt.base, learnt.policy) as engine:
        rows, _ = tokenise(engine.dialogue, world.items, torch.ones(len(world.items), dtype=torch.bool))
        found = policy_validation(
            engine, None, world.validation, world.vectors, rows, reference_log_probs(engine, rows),
            world.target_groups, short(**LEARN), told=told,
        )()  # fmt: skip
    assert sorted([found["accuracy_one_side"], found["accuracy_other_side"]]) == pytest.approx([0, 1], abs=0.1)
    assert found["accuracy_k10"] == pytest.approx(0.5, abs=0.1)


def test_with_somebody_elses_context_it_is_right_by_chance(learnt: Run, world: Camps) -> None:
    """Half of the users are given a context of their own camp, half one of the other."""
    found = asked(learnt, world, (10,), shuffled=True)
    assert found.accuracy().mean().item() == pytest.approx(0.5, abs=0.06)
    accuracy = found.accuracy()[0]
    same = world.kind == world.kind.roll(1)
    assert accuracy[same].min() > 0.8
    assert accuracy[~same].max() < 0.2


def test_a_policy_that_is_told_nothing_cannot_tell_the_camps_apart(
    shared_base: Base, world: Camps, tmp_path: Path
) -> None:
    told = torch.zeros(world.train.n_users, 4), torch.zeros(world.validation.n_users, 4)
    plain = Run(shared_base, world, tmp_path, told=told)
    assert plain.found("accuracy") < 0.65
    accuracy = asked(plain, world, (10,), told=told[1]).accuracy()[0]
    camps_apart = [accuracy[world.kind == kind].mean().item() for kind in (0, 1)]
    assert sum(camps_apart) == pytest.approx(1, abs=0.2), "what one camp gains, the other loses"


def test_a_policy_that_is_told_the_camp_follows_it_without_a_context(
    shared_base: Base, world: Camps, tmp_path: Path
) -> None:
    """Also with a z of another size than the reward model's."""

    def taste(users: int) -> Tensor:
        return (1.0 - 2.0 * (torch.arange(users) // 2 % 2)).unsqueeze(1).expand(-1, 2)

    told = taste(world.train.n_users), taste(world.validation.n_users)
    run = Run(shared_base, world, tmp_path, told=told)
    assert run.policy.modulator.latent == 2
    assert run.found("accuracy_k0") > 0.95
    assert run.found("accuracy_one_side") > 0.9
    assert run.found("accuracy_other_side") > 0.9


# -- what a run leaves alone, and what it leaves behind ----------------------------------------------------------------


def test_the_base_and_all_random_states_stay_as_they_were(learnt: Run) -> None:
    assert learnt.base_kept
    assert learnt.states_kept


def test_nothing_is_printed(shared_base: Base, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(shared_base, tmp_path)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_no_pickle_is_written(learnt: Run) -> None:
    files = sorted(str(path.relative_to(learnt.folder)) for path in learnt.folder.rglob("*") if path.is_file())
    assert files == [
        "checkpoint/trainer_state.json",
        "checkpoint/weights/progress.json",
        "checkpoint/weights/state.safetensors",
        "metrics.jsonl",
        "reference.safetensors",
    ]


def test_the_policy_returned_is_the_best_and_at_rest(learnt: Run, world: Camps) -> None:
    notes, events = learnt.policy.notes, learnt.validations()
    best = min(events, key=lambda event: event["loss"])
    assert notes["best_step"] == best["step"]
    assert learnt.found("loss") == best["loss"]
    assert notes["steps"] == 60
    assert notes["training"]["max_steps"] == 60
    assert not learnt.policy.modulator.training
    assert not any(p.requires_grad for p in learnt.policy.modulator.parameters())
    json.dumps(notes, allow_nan=False)
    again = asked(learnt, world, (10,))
    assert again.accuracy().mean() > 0.95


def test_metrics_tell_accuracy_by_k_and_by_side(learnt: Run) -> None:
    lines = [json.loads(line) for line in (learnt.folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [20, 20, 40, 40, 60, 60]
    for line in lines[1::2]:
        assert line.keys() >= {
            "name", "loss", "accuracy", "accuracy_k0", "accuracy_k1", "accuracy_k5", "accuracy_k10",
            "accuracy_one_side", "accuracy_other_side",
        }  # fmt: skip
        by_k = [line[f"accuracy_k{k}"] for k in (0, 1, 5, 10)]
        assert line["accuracy"] == pytest.approx(sum(by_k) / 4)
        sides = (line["accuracy_one_side"], line["accuracy_other_side"])
        assert min(sides) <= line["accuracy_k10"] <= max(sides)
    for line in lines[::2]:
        assert line.keys() >= {"name", "loss", "learning_rate", "grad_norm"}


def test_listeners_hear_of_every_step(learnt: Run) -> None:
    steps = [e["step"] for e in learnt.events if (e["event"], e["name"]) == ("step", "policy")]
    assert steps == list(range(1, 61))
    kinds = [event["event"] for event in learnt.events if event["name"] == "policy"]
    assert (kinds[0], kinds[-1]) == ("start", "end")
    assert any(event["name"].startswith("asking the base") for event in learnt.events)


def test_the_reference_is_kept_beside_the_run(learnt: Run, shared_base: Base) -> None:
    known = learnt.folder / "reference.safetensors"
    before = known.stat().st_mtime_ns
    fit(shared_base, learnt.folder, camps(prompts=24), training=short(seed=3), config=small(rank=4), restart=True)
    assert known.stat().st_mtime_ns == before


def test_a_policy_of_an_untrained_reward_needs_no_trained_one(learnt: Run) -> None:
    """The toy's contexts tell the camps apart with a reward model that was never trained."""
    assert learnt.policy.reward.fingerprint == camp_reward().fingerprint
