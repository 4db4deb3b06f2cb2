"""`TransformersEngine`: who asks what, whose answer it is in many threads, and that nothing of it stays on the base."""

import gc
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from moved_policy import answers, moved, refused, some_z
from tiny_base import save_base
from torch import Tensor
from torch.testing import assert_close

from tacit.engines import Base, Engine, Request, Sampling, TransformersEngine, load_base, open_engine, requests
from tacit.errors import ChoiceError, ConfigError
from tacit.rewards import RewardModel
from tacit.steering import PolicyConfig, SteerablePolicy

ITEMS = [("What is it?", "a cat"), ("Say a word", "x"), ("Q", "many words")]
PROMPTS = [prompt for prompt, _ in ITEMS]
SHORT = Sampling(max_new_tokens=6, temperature=0)
DRAWN = Sampling(max_new_tokens=6, seed=3)


def one(prompt: Any, z: Tensor | None = None, sampling: Sampling = SHORT) -> Request:
    return requests([prompt], z, sampling)[0]


# -- who asks what -----------------------------------------------------------------------------------------------------


def test_it_is_an_engine(engine: TransformersEngine) -> None:
    assert isinstance(engine, Engine)


def test_one_user_may_ask_everything(engine: TransformersEngine) -> None:
    z = some_z(1)
    assert_close(engine.log_probs(ITEMS, z), engine.log_probs(ITEMS, z.expand(3, -1)), rtol=1e-5, atol=1e-4)
    assert answers(engine, PROMPTS, z, SHORT) == answers(engine, PROMPTS, z.expand(3, -1), SHORT)


@pytest.mark.parametrize("users", [2, 4, 0])
def test_otherwise_every_prompt_has_a_user(engine: TransformersEngine, users: int) -> None:
    for call in (lambda: requests(PROMPTS, some_z(users)), lambda: engine.log_probs(ITEMS, some_z(users))):
        message = refused(call, ConfigError)
        assert "3 prompts" in message
        assert f"{users} users" in message


def test_no_prompt_at_all_is_refused(engine: TransformersEngine) -> None:
    for call in (lambda: requests([], some_z(1)), lambda: engine.log_probs([], some_z(1))):
        refused(call, ConfigError)
    assert engine.generate([]) == []


def test_requests_of_all_kinds_are_answered_as_each_alone(engine: TransformersEngine) -> None:
    """Some steered and some not, drawn and not, in the order in which they came."""
    asked = [
        one("One", some_z(1)), one("Two"), one("Three", some_z(1, seed=4), DRAWN), one("Four", some_z(1, seed=5)),
        one("Five", None, DRAWN.model_copy(update={"samples": 3})),
    ]  # fmt: skip
    assert engine.generate(asked) == [engine.generate([request])[0] for request in asked]


@pytest.mark.parametrize("z", [torch.zeros(3), torch.zeros(1, 4), torch.full((4,), float("nan"))], ids=str)
def test_a_z_that_does_not_fit_is_refused_before_anything_is_read(engine: TransformersEngine, z: Tensor) -> None:
    for call in (lambda: engine.generate([Request("Q", z, SHORT)]), lambda: engine.stream(Request("Q", z, SHORT))):
        refused(call, ConfigError)


def test_messages_come_in_any_form(engine: TransformersEngine) -> None:
    """All the same to the engine."""
    forms = [
        "What is it?", {"role": "user", "content": "What is it?"}, [{"role": "user", "content": "What is it?"}],
        [{"role": "user", "content": [{"type": "text", "text": "What is it?"}]}],
        [{"from": "human", "value": "What is it?"}],
    ]  # fmt: skip
    found = answers(engine, forms, some_z(1), SHORT)
    assert all(said == found[0] for said in found)
    said = engine.log_probs(
        [(form, answer) for form in forms for answer in ("a cat", [{"role": "assistant", "content": "a cat"}])]
    )
    assert_close(said, said[:1].expand(10), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("prompt", "says"),
    [("", "prompt 2 is blank"), ([], "prompt 2 is an empty list"), (7, "prompt 2 is 7"),
     ([{"role": "user", "content": None, "tool_calls": [{}]}], "prompt 2 has a message with tool calls")],
    ids=str,
)  # fmt: skip
def test_what_is_no_conversation_is_refused_by_number(engine: TransformersEngine, prompt: Any, says: str) -> None:
    assert says in refused(lambda: engine.generate([one("fine"), Request(prompt)]), ChoiceError)


# -- whose base, whose policy ------------------------------------------------------------------------------------------


def test_a_base_alone_answers_nobody_in_particular(base: Base, engine: TransformersEngine) -> None:
    alone = TransformersEngine(base)
    assert answers(alone, PROMPTS, None, SHORT) == answers(engine, PROMPTS, None, SHORT)
    assert torch.equal(alone.log_probs(ITEMS), engine.log_probs(ITEMS))
    assert "without a policy" in refused(lambda: alone.generate([one("Q", some_z(1))]), ConfigError)


def test_a_new_policy_is_the_base_whoever_asks(base: Base, reward: RewardModel) -> None:
    engine = TransformersEngine(base, SteerablePolicy.new(base, reward))
    assert torch.equal(engine.log_probs(ITEMS, some_z(3)), engine.log_probs(ITEMS))


def test_without_a_user_a_trained_policy_is_the_base(base: Base, engine: TransformersEngine) -> None:
    expected = TransformersEngine(base).log_probs(ITEMS)
    assert torch.equal(engine.log_probs(ITEMS), expected)
    with engine.steered(some_z(1)):
        assert torch.equal(engine.log_probs(ITEMS), expected), "also inside another request"
    assert (engine.log_probs(ITEMS, some_z(3)) - expected).abs().min() > 0.01


def test_engines_share_a_base_and_do_not_meet(base: Base, reward: RewardModel) -> None:
    policies = [moved(SteerablePolicy.new(base, reward), seed=seed) for seed in (3, 4)]
    alone = []
    for policy in policies:
        with TransformersEngine(base, policy) as engine:
            alone.append(engine.log_probs(ITEMS, some_z(3)))
    assert (alone[0] - alone[1]).abs().min() > 0.01
    with TransformersEngine(base, policies[0]) as first:
        with TransformersEngine(base, policies[1]) as second, first.steered(some_z(1)):
            assert torch.equal(second.log_probs(ITEMS), first.log_probs(ITEMS)), "somebody else's user"
        with TransformersEngine(base, policies[1]) as second:
            assert torch.equal(first.log_probs(ITEMS, some_z(3)), alone[0])
            assert torch.equal(second.log_probs(ITEMS, some_z(3)), alone[1])
        assert torch.equal(first.log_probs(ITEMS, some_z(3)), alone[0]), "the other's end was this one's"


def test_a_policy_of_another_base_is_refused(policy: SteerablePolicy, tmp_path: Path) -> None:
    base = load_base(str(save_base(tmp_path, seed=9)))
    assert "not the one this policy was trained on" in refused(lambda: TransformersEngine(base, policy), ConfigError)
    assert untouched(base.model)


def test_a_policy_is_opened_by_its_folder_in_one_line(policy: SteerablePolicy, base: Base, tmp_path: Path) -> None:
    policy.save(tmp_path / "policy")
    expected = TransformersEngine(base, policy).log_probs(ITEMS, some_z(3))
    with open_engine(tmp_path / "policy", device="cpu", dtype="float32") as engine:
        assert torch.equal(engine.log_probs(ITEMS, some_z(3)), expected)


# -- threads -----------------------------------------------------------------------------------------------------------


def test_two_threads_have_each_their_own_user_again_and_again(engine: TransformersEngine) -> None:
    """Forward by forward at the same moment, with different users, numbers of rows and draws."""
    asked = [(PROMPTS[:2], 1.5 * some_z(2, seed=seed), DRAWN.model_copy(update={"seed": seed})) for seed in range(8)]
    expected = [answers(engine, *one) for one in asked]
    assert len({str(one) for one in expected}) == 8, "users get the same answer, so this says nothing"
    together = threading.Barrier(2)
    handle = engine.base.model.register_forward_pre_hook(lambda *_: (together.wait(60), None)[1])
    found: list[list[Any]] = [[], []]

    def ask(thread: int) -> None:
        for number in range(thread, 8, 2):
            found[thread].append(answers(engine, *asked[number]))

    try:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(ask, (0, 1)))
    finally:
        handle.remove()
    assert found == [expected[0::2], expected[1::2]]


def test_engines_open_and_close_while_others_answer(
    base: Base, reward: RewardModel, engine: TransformersEngine
) -> None:
    expected = answers(engine, PROMPTS, some_z(3), SHORT)

    def come_and_go(seed: int) -> bool:
        policy = moved(SteerablePolicy.new(base, reward), seed=seed)
        alone = None
        for _ in range(4):
            with TransformersEngine(base, policy) as own:
                found = own.log_probs(ITEMS, some_z(3))
            assert alone is None or torch.equal(found, alone)
            alone = found
        return True

    with ThreadPoolExecutor(3) as pool:
        others = [pool.submit(come_and_go, seed) for seed in (5, 6)]
        asked = [pool.submit(answers, engine, PROMPTS, some_z(3), SHORT) for _ in range(6)]
        assert all(one.result() == expected for one in asked)
        assert all(one.result() for one in others)
    engine.close()
    assert untouched(base.model)


# -- nothing stays -----------------------------------------------------------------------------------------------------


def untouched(model: Any) -> bool:
    """No hook, no other `forward`, no checkpoint of ours."""
    parts = list(model.modules())
    return not any(
        "forward" in vars(part) or part._forward_hooks or part._forward_pre_hooks or part._backward_hooks
        for part in parts
    ) and not any("tacit" in type(getattr(part, "_gradient_checkpointing_func", None)).__module__ for part in parts)


@pytest.mark.parametrize("kind", ["gated_lora", "film", "soft_token"])
@pytest.mark.parametrize("left", ["closed", "dropped"])
def test_nothing_of_a_policy_that_was_used_stays(base: Base, reward: RewardModel, kind: str, left: str) -> None:
    config = PolicyConfig.model_validate({"modulator": kind, "template": "plain"})
    within = Sampling(max_new_tokens=3, top_p=0.9, within_base=True, stop=("x",))
    expected, watched = TransformersEngine(base).log_probs(ITEMS), []
    for seed in range(12):
        policy = moved(SteerablePolicy.new(base, reward, config, seed=seed))
        engine = TransformersEngine(base, policy)
        answers(engine, PROMPTS, some_z(3), within)
        engine.log_probs(ITEMS, some_z(3))
        next(engine.stream(one("Q", some_z(1), DRAWN)), None)
        watched += [weakref.ref(policy.modulator), weakref.ref(engine)]
        if left == "closed":
            engine.close()
            engine.close()
            assert untouched(base.model)
        del policy, engine
    gc.collect()
    assert not any(alive() for alive in watched)
    assert untouched(base.model)
    assert torch.equal(TransformersEngine(base).log_probs(ITEMS), expected)


def test_settings_of_sampling_hold_no_model(base: Base, policy: SteerablePolicy) -> None:
    sampling = Sampling(max_new_tokens=3, top_p=0.9, within_base=True)
    before = Sampling.model_validate(sampling.model_dump())
    with TransformersEngine(base, policy) as engine:
        request = one("Q", some_z(1), sampling)
        engine.generate([request])
    assert (request.sampling, vars(request).keys()) == (before, {"messages", "z", "sampling"})


def test_an_engine_that_cannot_be_opened_leaves_nothing(base: Base, policy: SteerablePolicy) -> None:
    """A site that never runs is found when the first ones are patched already."""
    sites = policy.sites
    broken = replace(sites[-1], outputs=7)
    policy.modulator.sites = (*sites[:-1], broken)
    assert broken.name in refused(lambda: TransformersEngine(base, policy), ConfigError)
    assert untouched(base.model)
    policy.modulator.sites = (*sites[:-1], replace(broken, name="gone"))
    assert "gone" in refused(lambda: TransformersEngine(base, policy), ConfigError)
    assert untouched(base.model)


def test_a_closed_engine_answers_nobody(engine: TransformersEngine) -> None:
    engine.close()
    for call in (
        lambda: engine.generate([one("Q", some_z(1))]),
        lambda: engine.generate([one("Q")]),
        lambda: engine.log_probs(ITEMS),
        lambda: engine.stream(one("Q")),
    ):
        assert "closed" in refused(call, ConfigError)


def test_closing_waits_for_what_is_being_answered(engine: TransformersEngine) -> None:
    """It would become the base's answer half way."""
    expected = answers(engine, PROMPTS, some_z(3), SHORT)
    begun = threading.Event()
    handle = engine.base.model.register_forward_hook(lambda *_: (begun.set(), time.sleep(0.02), None)[2])
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(answers, engine, PROMPTS, some_z(3), SHORT)
        assert begun.wait(60)
        engine.close()
        assert asked.result(60) == expected
    handle.remove()
    assert untouched(engine.base.model)


def test_closing_stops_a_stream_and_says_so(engine: TransformersEngine) -> None:
    handle = engine.base.model.register_forward_hook(lambda *_: (time.sleep(0.01), None)[1])
    pieces = engine.stream(one("What is it?", some_z(1), Sampling(max_new_tokens=80, seed=1)))
    reading = ThreadPoolExecutor(1).submit(list, pieces)
    time.sleep(0.1)
    engine.close()
    with pytest.raises(ConfigError, match="closed before the answer was complete"):
        reading.result(60)
    handle.remove()
    assert untouched(engine.base.model)
