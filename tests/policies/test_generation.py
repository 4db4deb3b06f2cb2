"""Answers: each row its own user's, fixed by the seed, and nothing global touched."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from threading import Barrier
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.testing import assert_close

from tacit.engines.transformers.generation import generate
from tacit.errors import ChoiceError
from tacit.policies import Base, Dialogue, Sampling, SteerablePolicy
from tacit.rewards import RewardConfig, RewardModel
from tacit.rewards.network import RewardNetwork

PROMPTS = ["What is it?", "Say a word", "Q"]
Z = 1.5 * torch.randn(3, 4, generator=torch.Generator().manual_seed(2))
GREEDY = Sampling(max_new_tokens=10, temperature=0)
DRAWN = Sampling(max_new_tokens=10, seed=5)


# -- whose answer it is ------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_at_temperature_zero_each_token_is_the_most_likely(policy: SteerablePolicy) -> None:
    """By a loop without a cache."""
    ids = policy.dialogue.prompt(PROMPTS[0])
    answer: list[int] = []
    with policy.steered(Z[:1]) as model:
        while len(answer) < 10 and (not answer or answer[-1] != 2):
            answer.append(int(model(input_ids=torch.tensor([[*ids, *answer]]), use_cache=False).logits[0, -1].argmax()))
    text = policy.base.tokenizer.decode(answer, skip_special_tokens=True).strip()
    assert policy.generate(PROMPTS[:1], Z[:1], GREEDY) == [[text]]


@pytest.mark.parametrize(
    "sampling",
    [
        GREEDY,
        Sampling(max_new_tokens=10, temperature=0, beams=3),
        Sampling(max_new_tokens=10, temperature=0, beams=3, samples=2),
        Sampling(max_new_tokens=10, temperature=1e-5, samples=3),
    ],
    ids=["greedy", "beams", "beams of two answers", "three draws without chance"],
)
def test_a_batch_of_users_is_each_of_them_alone(policy: SteerablePolicy, sampling: Sampling) -> None:
    together = policy.generate(PROMPTS, Z, sampling)
    alone = [policy.generate([prompt], Z[row : row + 1], sampling)[0] for row, prompt in enumerate(PROMPTS)]
    assert together == alone
    assert [len(answers) for answers in together] == [sampling.samples] * 3
    same_prompt = policy.generate([PROMPTS[0]] * 3, Z, sampling)
    assert len({tuple(answers) for answers in same_prompt}) == 3, "users get the same answer, so this says nothing"


def test_films_beams_are_each_users_own_too(film_policy: SteerablePolicy) -> None:
    sampling = Sampling(max_new_tokens=8, temperature=0, beams=2, samples=2)
    together = film_policy.generate(PROMPTS, Z, sampling)
    assert together == [film_policy.generate([p], Z[i : i + 1], sampling)[0] for i, p in enumerate(PROMPTS)]


def test_each_further_token_costs_one_token(policy: SteerablePolicy) -> None:
    """What was read is kept, although it was read as somebody."""
    read: list[int] = []
    handle = policy.base.model.get_input_embeddings().register_forward_pre_hook(
        lambda _, args: read.append(args[0].shape[1])
    )
    policy.generate(PROMPTS, Z, GREEDY)
    handle.remove()
    assert read[0] == len(policy.dialogue.prompt(PROMPTS[0]))
    assert set(read[1:]) == {1}


def test_without_a_user_the_base_answers(policy: SteerablePolicy) -> None:
    expected = generate(policy.base.model, policy.dialogue, PROMPTS, GREEDY)
    with policy.steered(Z[:1]):
        assert policy.generate(PROMPTS, None, GREEDY) == expected
    assert policy.generate(PROMPTS, Z, GREEDY) != expected


def test_an_answer_ends_before_its_end_token(base: Base) -> None:
    """Whatever stands after it; without one it goes on to the last."""
    ids = base.tokenizer.convert_tokens_to_ids(list("abcd"))
    written = [[*ids[:2], 2, ids[3], 0], [*ids, ids[0]], [2, 0, 0, 0, 0]]

    def write(*, input_ids: Tensor, **_: Any) -> Tensor:
        return torch.cat([input_ids, torch.tensor(written)], dim=1)

    found = generate(SimpleNamespace(generate=write), Dialogue(base), PROMPTS, GREEDY)
    assert found == [["ab"], ["abcda"], [""]]


# -- chance ------------------------------------------------------------------------------------------------------------


def test_the_seed_decides(policy: SteerablePolicy) -> None:
    first = policy.generate(PROMPTS, Z, DRAWN)
    torch.manual_seed(99)
    assert policy.generate(PROMPTS, Z, DRAWN) == first
    other = policy.generate(PROMPTS, Z, DRAWN.model_copy(update={"seed": 6}))
    assert all(a != b for a, b in zip(first, other, strict=True))


def test_nobody_elses_random_state_is_touched(policy: SteerablePolicy) -> None:
    """Not even while an answer is being written in the background."""
    torch.manual_seed(7)
    expected = torch.rand(3, 2)
    torch.manual_seed(7)
    found = [torch.rand(2)]
    policy.generate(PROMPTS, Z, DRAWN)
    pieces = policy.stream(PROMPTS[0], Z[:1], Sampling(max_new_tokens=40))
    next(pieces)
    found.append(torch.rand(2))
    list(pieces)
    found.append(torch.rand(2))
    assert torch.equal(torch.stack(found), expected)


def test_answers_drawn_at_the_same_moment_do_not_change_one_another(policy: SteerablePolicy) -> None:
    seeds = (5, 6)
    alone = [policy.generate(PROMPTS, Z, DRAWN.model_copy(update={"seed": seed})) for seed in seeds]
    together = Barrier(2)
    handle = policy.base.model.register_forward_pre_hook(lambda *_: (together.wait(60), None)[1])
    try:
        with ThreadPoolExecutor(2) as pool:
            asked = [DRAWN.model_copy(update={"seed": seed}) for seed in seeds]
            found = list(pool.map(lambda sampling: policy.generate(PROMPTS, Z, sampling), asked))
    finally:
        handle.remove()
    assert found == alone


def test_several_draws_of_a_prompt_differ_and_come_with_it(policy: SteerablePolicy) -> None:
    answers = policy.generate(PROMPTS, Z, Sampling(max_new_tokens=10, samples=4))
    assert [len(set(of_one)) for of_one in answers] == [4, 4, 4]


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (2.0, 0.7)])
def test_draws_have_the_probabilities_that_were_asked_for(base: Base, temperature: float, top_p: float) -> None:
    sampling = Sampling(temperature=temperature, top_p=top_p, seed=1)
    logits = torch.tensor([2.0, 1.0, 0.5, 0.0, -1.0, -float("inf")])
    expected = (logits / temperature).softmax(0)
    needed = expected.cumsum(0) - expected < top_p  # the smallest set of at least this much; logits are sorted
    expected = expected * needed / (expected * needed).sum()
    asked = sampling.keywords(Dialogue(base), torch.ones(20_000, 1, dtype=torch.int64))
    assert not asked["do_sample"]
    scores = asked["logits_processor"](torch.zeros(20_000, 1, dtype=torch.int64), logits.repeat(20_000, 1))
    found = scores.argmax(1).bincount(minlength=6) / 20_000
    assert_close(found, expected, rtol=0, atol=0.015)
    assert found[expected == 0].sum() == 0


@pytest.mark.parametrize(
    "sampling",
    [Sampling(temperature=0, samples=2), Sampling(beams=3, samples=4), Sampling(temperature=0, beams=1, samples=3)],
)
def test_more_answers_than_can_differ_are_refused(policy: SteerablePolicy, sampling: Sampling) -> None:
    with pytest.raises(ChoiceError, match=f"{sampling.samples} answers") as caught:
        policy.generate(PROMPTS, Z, sampling)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": -1}, {"top_p": 0}, {"top_p": 1.1}, {"beams": 0}, {"samples": 0}, {"max_new_tokens": 0},
     {"seed": -1}, {"temperature": float("nan")}, {"top_k": 5}, {"within_base": True},
     {"within_base": True, "top_p": 0.9, "temperature": 0}, {"within_base": True, "top_p": 0.9, "beams": 2}],
    ids=str,
)  # fmt: skip
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Sampling(**wrong)


# -- streams -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampling", [GREEDY, DRAWN, DRAWN.model_copy(update={"seed": 6, "max_new_tokens": 40})])
def test_a_stream_is_the_generated_answer_in_pieces(policy: SteerablePolicy, sampling: Sampling) -> None:
    for prompt, z in ((PROMPTS[0], Z[:1]), (PROMPTS[1], Z[1:2]), (PROMPTS[0], None)):
        pieces = list(policy.stream(prompt, z, sampling))
        assert all(pieces)
        assert "".join(pieces).strip() == policy.generate([prompt], z, sampling)[0][0]


def seeds_of_several_words(policy: SteerablePolicy) -> Iterator[int]:
    """A stream goes on at white space, of which a random model writes little."""
    return (seed for seed in range(100) if len(list(policy.stream(PROMPTS[0], Z[:1], long(seed)))) > 1)


def long(seed: int) -> Sampling:
    return Sampling(max_new_tokens=60, seed=seed)


def test_a_stream_comes_while_it_is_written(policy: SteerablePolicy) -> None:
    assert next(seeds_of_several_words(policy), None) is not None


def test_whoever_stops_reading_a_stream_stops_its_writing(policy: SteerablePolicy) -> None:
    seeds = list(islice(seeds_of_several_words(policy), 3))
    written: list[float] = []
    policy.base.model.register_forward_hook(lambda *_: written.append(time.sleep(0.02) or 0))

    def tokens(seed: int, *, pieces: int | None) -> int:
        """Written of an answer of which so many pieces are read (None: all)."""
        written.clear()
        reading = policy.stream(PROMPTS[0], Z[:1], long(seed))
        assert list(islice(reading, pieces))
        reading.close()
        return len(written)

    whole = [tokens(seed, pieces=None) for seed in seeds]
    begun = [tokens(seed, pieces=1) for seed in seeds]
    assert sum(begun) < sum(whole)
    time.sleep(0.1)
    assert len(written) == begun[-1]


def test_the_writers_error_is_raised_where_the_stream_is_read(
    policy: SteerablePolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: Any) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(policy.base.model, "generate", fail)
    with pytest.raises(MemoryError, match="no room"):
        list(policy.stream(PROMPTS[0], Z[:1], GREEDY))


# -- room --------------------------------------------------------------------------------------------------------------


def test_a_prompt_without_room_for_its_answer_is_refused(policy: SteerablePolicy) -> None:
    """The base reads 96 tokens; a prompt of n bytes has n + 2, and is never cut here."""
    fits, asked = "a" * 84, Sampling(max_new_tokens=10, temperature=0)
    assert len(policy.generate([fits], Z[:1], asked)) == 1
    for call in (lambda p: policy.generate(["a", p], Z[:2], asked), lambda p: policy.stream(p, Z[:1], asked)):
        with pytest.raises(ChoiceError, match="87 tokens and an answer of up to 10 exceed the 96") as caught:
            call(fits + "a")
        assert "\n" not in str(caught.value)


def test_an_answer_ends_where_the_model_says_so(base: Base) -> None:
    """A chat model ends its turn with another token than its tokenizer ends a text with."""
    policy = SteerablePolicy.new(base, RewardModel(RewardNetwork(64, RewardConfig(members=1, latent=4)).eval()))
    whole = policy.generate(PROMPTS[:1], None, GREEDY)[0][0]
    ids = policy.dialogue.prompt(PROMPTS[0])
    with torch.no_grad():
        first = int(base.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
    for own in (first, [2, first]):
        base.model.generation_config.eos_token_id = own
        assert base.ends == [2, first]
        assert policy.generate(PROMPTS[:1], None, GREEDY)[0][0] == ""
    base.model.generation_config.eos_token_id = None
    assert base.ends == [2]
    assert policy.generate(PROMPTS[:1], None, GREEDY)[0][0] == whole != ""
