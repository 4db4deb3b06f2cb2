"""The steering experiment's parts, on a tiny world."""

from dataclasses import replace

import pytest
import torch

from tacit.choices.conversation import Conversation
from tacit.engines import TransformersEngine, load_base
from tacit.steering import SteerablePolicy
from tacit.worlds.text.base_model import text_base
from tacit_experiments.steering import (
    Setting,
    SteeringWorld,
    Types,
    bayes_observer,
    best_of_pool,
    continuum,
    directions,
    find_types,
    judged,
    opposed,
    train_arm,
    with_examples,
)
from tacit_experiments.steering.setting import policy_training

TINY = Setting(
    users=120, choices_per_user=40, answers_per_prompt=4, reward_steps=30, judges=5, questions=2,
    training=policy_training(max_steps=1, eval_users=4).model_copy(update={"per_device_train_batch_size": 2}),
)  # fmt: skip


@pytest.fixture(scope="module")
def world() -> SteeringWorld:
    return SteeringWorld(3, TINY)


@pytest.fixture(scope="module")
def engine(world: SteeringWorld) -> TransformersEngine:
    base = load_base(str(text_base()))
    return TransformersEngine(base, SteerablePolicy.new(base, world.trained.model, TINY.policy))


@pytest.fixture(scope="module")
def answers(world: SteeringWorld) -> list[list[str]]:
    """For every judge and question the first answer that the world's writer gave."""
    first = dict(reversed(world.world.items))
    return [[first[question] for question in asked] for asked in world.questions]


def test_strangers_and_questions_are_new(world: SteeringWorld) -> None:
    assert not set(world.strangers.tolist()) & set(world.known.tolist())
    parts = (world.parts.train, world.parts.validation)
    chosen = torch.cat([part.items[part.rank >= 0] for part in parts]).unique().tolist()
    known = {world.known_items[item][0] for item in chosen}
    assert len(known) > 80
    assert not known & {question for asked in world.questions for question in asked}
    seen = world.index.items[world.context].flatten().unique().tolist()
    assert not {world.items[item][0] for item in seen} & set(world.prompts)


def test_the_observer_learns_from_choices(world: SteeringWorld) -> None:
    assert world.believed(0).norm(dim=1).max() < 0.05 * world.world.scale
    close = [torch.cosine_similarity(world.believed(k), world.tastes).mean() for k in (1, 20)]
    assert close[0] < close[1]
    assert close[1] > 0.7


def test_one_clear_choice_turns_belief_towards_it() -> None:
    gaps = torch.tensor([[[9.0, 0.0, 0.0]]])
    believed = bayes_observer(gaps, 2.0)
    # The half of a sphere on one side of a plane: its mean is half a radius away.
    torch.testing.assert_close(believed, torch.tensor([[1.0, 0.0, 0.0]]), atol=0.15, rtol=0)


def test_a_shuffled_judge_has_the_choices_of_another(world: SteeringWorld) -> None:
    torch.testing.assert_close(world.latents(5, shuffled=1), world.latents(5).roll(1, 0))
    assert not torch.allclose(world.latents(5)[0], world.latents(5)[1])


def test_gold_is_taste_times_attributes(world: SteeringWorld, engine: TransformersEngine, answers) -> None:
    found = judged(world, engine, answers)
    item = world.world.locate([(world.questions[1][0], answers[1][0])])
    torch.testing.assert_close(
        found.gold[1, 0], world.world.attributes[item[0]] @ world.tastes[1], atol=1e-4, rtol=1e-4
    )
    assert found.words[1, 0] == len(answers[1][0].split())
    assert (found.malformed, found.apart) == (0.0, 0.0)
    assert judged(world, engine, [[f"{a} Colourless ideas." for a in said] for said in answers]).malformed > 0.05


def test_directions_count_those_who_want_them(world: SteeringWorld, engine: TransformersEngine, answers) -> None:
    plain = judged(world, engine, answers)
    unit = world.tastes / world.tastes.norm(dim=1, keepdim=True)
    moved = directions(world, replace(plain, attributes=plain.attributes + unit), plain)
    assert moved
    assert min(moved.values()) > 0.5


def test_best_of_takes_what_each_judge_likes_most(world: SteeringWorld) -> None:
    pool = {prompt: [response for p, response in world.world.items if p == prompt] for prompt in world.prompts}
    best = best_of_pool(world, pool, 3, None)
    for judge, asked in enumerate(world.questions):
        for question, answer in zip(asked, best[judge], strict=True):
            items = world.world.locate([(question, response) for response in pool[question][:3]])
            rewards = world.world.attributes[items] @ world.tastes[judge]
            assert answer == pool[question][int(rewards.argmax())]
    there = {world.items[i]: i for i in range(len(world.items))}
    z = world.latents(20)
    for judge, (asked, said) in enumerate(zip(world.questions, best_of_pool(world, pool, 3, z), strict=True)):
        for question, answer in zip(asked, said, strict=True):
            rows = [there.get((question, response)) for response in pool[question][:3]]
            if None in rows:  # nobody was asked about that answer, so the table does not hold it
                continue
            model = world.trained.model
            items = model.network.standardizer(world.vectors[torch.tensor(rows)])
            with torch.no_grad():
                assert answer == pool[question][int(model.network.head(items, z[judge : judge + 1]).argmax())]


def test_examples_come_before_the_question_and_leave_room(world: SteeringWorld, engine: TransformersEngine) -> None:
    asked = with_examples(world, 20, engine)
    longer = 0
    for questions, prompts in zip(world.questions, asked, strict=True):
        for question, prompt in zip(questions, prompts, strict=True):
            assert prompt.endswith(question)
            assert len(engine.dialogue.prompt(Conversation.parse(prompt))) <= 384 - 150
            longer += prompt != question
    assert longer


def test_types_are_where_people_are(world: SteeringWorld) -> None:
    types = find_types(world, 3)
    torch.testing.assert_close(types.nearest(types.centres), torch.eye(3))
    assert len(types.of_user) == len(world.known)
    assert len(types.of_user.unique()) > 1
    shares = types.shares(world.latents(20))
    torch.testing.assert_close(shares.sum(1), torch.ones(len(shares)))
    assert bool((shares.argmax(1) == types.nearest(world.latents(20)).argmax(1)).all())


def test_shares_are_even_between_two_centres() -> None:
    types = Types(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), torch.tensor([0, 1]), spread=0.5)
    torch.testing.assert_close(types.shares(torch.tensor([[0.0, 3.0]])), torch.tensor([[0.5, 0.5]]))
    # Spread 0.5 over two dimensions is a variance of 0.25 in each: log-odds (2^2 - 0^2) / (2 * 0.25) = 8.
    torch.testing.assert_close(
        types.shares(torch.tensor([[1.0, 0.0]])).logit()[0, 0], torch.tensor(8.0), atol=1e-3, rtol=0
    )


def test_opposed_people_point_opposite_ways() -> None:
    z = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.2]])
    assert sorted(opposed(z)) == [0, 2]


def test_a_policy_that_does_nothing_has_a_flat_continuum(world: SteeringWorld, engine: TransformersEngine) -> None:
    world.prompts = world.prompts[:2]
    line = continuum(world, engine, world.latents(5), (0, 1), points=3, samples=1)
    assert line.shape == (3, 2)
    torch.testing.assert_close(line, line[:1].expand(3, 2))


def test_arms_differ_in_what_they_are_told(world: SteeringWorld, tmp_path) -> None:
    types = find_types(world, 3)
    typed = train_arm(world, tmp_path, "types", types=types)
    assert typed.policy.modulator.latent == 3
    assert (tmp_path / "reference.safetensors").exists()
    truth = train_arm(world, tmp_path, "truth", kind="film")
    assert truth.policy.modulator.latent == world.tastes.shape[1]
    assert truth.policy.config.modulator.kind == "film"
    assert truth.policy.notes["training"]["teacher"] == "reward"
    assert train_arm(world, tmp_path, "nothing").policy.notes["training"]["teacher"] == "choices"


def test_two_kinds_of_people_want_opposite_things() -> None:
    world = SteeringWorld(4, replace(TINY, people="two"))
    weights = world.world.weights
    torch.testing.assert_close(weights[0], -weights[1])
    assert weights.unique(dim=0).shape[0] == 2
    assert 0.84 < world.world.oracle_accuracy() < 0.91
