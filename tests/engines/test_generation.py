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
from moved_policy import answers
from pydantic import ValidationError
from torch import Tensor
from torch.testing import assert_close

from tacit.choices.conversation import Conversation
from tacit.engines import Answer, Base, Dialogue, Request, Sampling, TransformersEngine, requests
from tacit.engines.transformers.generation import asked, draw, keywords
from tacit.errors import ChoiceError

PROMPTS = ["What is it?", "Say a word", "Q"]
Z = 1.5 * torch.randn(3, 4, generator=torch.Generator().manual_seed(2))


def one(prompt: str, z: Tensor | None, sampling: Sampling) -> Request:
    return requests([prompt], z, sampling)[0]


GREEDY = Sampling(max_new_tokens=10, temperature=0)
DRAWN = Sampling(max_new_tokens=10, seed=5)


# -- whose answer it is ------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_at_temperature_zero_each_token_is_the_most_likely(engine: TransformersEngine) -> None:
    """By a loop without a cache."""
    ids = engine.dialogue.prompt(Conversation.parse(PROMPTS[0]))
    answer: list[int] = []
    with engine.steered(Z[:1]) as model:
        while len(answer) < 10 and (not answer or answer[-1] != 2):
            answer.append(int(model(input_ids=torch.tensor([[*ids, *answer]]), use_cache=False).logits[0, -1].argmax()))
    text = engine.base.tokenizer.decode(answer, skip_special_tokens=True).strip()
    assert answers(engine, PROMPTS[:1], Z[:1], GREEDY) == [[text]]


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
def test_a_batch_of_users_is_each_of_them_alone(engine: TransformersEngine, sampling: Sampling) -> None:
    together = answers(engine, PROMPTS, Z, sampling)
    alone = [answers(engine, [prompt], Z[row : row + 1], sampling)[0] for row, prompt in enumerate(PROMPTS)]
    assert together == alone
    assert [len(answers) for answers in together] == [sampling.samples] * 3
    same_prompt = answers(engine, [PROMPTS[0]] * 3, Z, sampling)
    assert len({tuple(answers) for answers in same_prompt}) == 3, "users get the same answer, so this says nothing"


def test_films_beams_are_each_users_own_too(film_engine: TransformersEngine) -> None:
    sampling = Sampling(max_new_tokens=8, temperature=0, beams=2, samples=2)
    together = answers(film_engine, PROMPTS, Z, sampling)
    assert together == [answers(film_engine, [p], Z[i : i + 1], sampling)[0] for i, p in enumerate(PROMPTS)]


def test_each_further_token_costs_one_token(engine: TransformersEngine) -> None:
    """What was read is kept, although it was read as somebody."""
    read: list[int] = []
    handle = engine.base.model.get_input_embeddings().register_forward_pre_hook(
        lambda _, args: read.append(args[0].shape[1])
    )
    answers(engine, PROMPTS, Z, GREEDY)
    handle.remove()
    assert read[0] == len(engine.dialogue.prompt(Conversation.parse(PROMPTS[0])))
    assert set(read[1:]) == {1}


def test_without_a_user_the_base_answers(engine: TransformersEngine) -> None:
    expected = answers(TransformersEngine(engine.base), PROMPTS, None, GREEDY)
    with engine.steered(Z[:1]):
        assert answers(engine, PROMPTS, None, GREEDY) == expected
    assert answers(engine, PROMPTS, Z, GREEDY) != expected


def test_an_answer_ends_before_its_end_token(base: Base) -> None:
    """Whatever stands after it; without one it goes on to the last."""
    ids = base.tokenizer.convert_tokens_to_ids(list("abcd"))
    written = [[*ids[:2], 2, ids[3], 0], [*ids, ids[0]], [2, 0, 0, 0, 0]]

    def write(*, input_ids: Tensor, **_: Any) -> Tensor:
        return torch.cat([input_ids, torch.tensor(written)], dim=1)

    dialogue = Dialogue(base)
    rows = asked(dialogue, [[1, 5]] * 3, GREEDY)
    found = draw(SimpleNamespace(generate=write), dialogue, rows, GREEDY)
    assert found == [[Answer("ab", True, 3)], [Answer("abcda", False, 5)], [Answer("", True, 1)]]


# -- chance ------------------------------------------------------------------------------------------------------------


def test_the_seed_decides(engine: TransformersEngine) -> None:
    first = answers(engine, PROMPTS, Z, DRAWN)
    torch.manual_seed(99)
    assert answers(engine, PROMPTS, Z, DRAWN) == first
    other = answers(engine, PROMPTS, Z, DRAWN.model_copy(update={"seed": 6}))
    assert all(a != b for a, b in zip(first, other, strict=True))


def test_nobody_elses_random_state_is_touched(engine: TransformersEngine) -> None:
    """Not even while an answer is being written in the background."""
    torch.manual_seed(7)
    expected = torch.rand(3, 2)
    torch.manual_seed(7)
    found = [torch.rand(2)]
    answers(engine, PROMPTS, Z, DRAWN)
    pieces = engine.stream(one(PROMPTS[0], Z[:1], Sampling(max_new_tokens=40)))
    next(pieces)
    found.append(torch.rand(2))
    list(pieces)
    found.append(torch.rand(2))
    assert torch.equal(torch.stack(found), expected)


def test_answers_drawn_at_the_same_moment_do_not_change_one_another(engine: TransformersEngine) -> None:
    seeds = (5, 6)
    alone = [answers(engine, PROMPTS, Z, DRAWN.model_copy(update={"seed": seed})) for seed in seeds]
    together = Barrier(2)
    handle = engine.base.model.register_forward_pre_hook(lambda *_: (together.wait(60), None)[1])
    try:
        with ThreadPoolExecutor(2) as pool:
            wanted = [DRAWN.model_copy(update={"seed": seed}) for seed in seeds]
            found = list(pool.map(lambda sampling: answers(engine, PROMPTS, Z, sampling), wanted))
    finally:
        handle.remove()
    assert found == alone


def test_several_draws_of_a_prompt_differ_and_come_with_it(engine: TransformersEngine) -> None:
    drawn = answers(engine, PROMPTS, Z, Sampling(max_new_tokens=10, samples=4))
    assert [len(set(of_one)) for of_one in drawn] == [4, 4, 4]


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (2.0, 0.7)])
def test_draws_have_the_probabilities_that_were_asked_for(base: Base, temperature: float, top_p: float) -> None:
    sampling = Sampling(temperature=temperature, top_p=top_p, seed=1)
    logits = torch.tensor([2.0, 1.0, 0.5, 0.0, -1.0, -float("inf")])
    expected = (logits / temperature).softmax(0)
    needed = expected.cumsum(0) - expected < top_p  # the smallest set of at least this much; logits are sorted
    expected = expected * needed / (expected * needed).sum()
    settings = keywords(Dialogue(base), torch.ones(20_000, 1, dtype=torch.int64), sampling)
    assert not settings["do_sample"]
    scores = settings["logits_processor"](torch.zeros(20_000, 1, dtype=torch.int64), logits.repeat(20_000, 1))
    found = scores.argmax(1).bincount(minlength=6) / 20_000
    assert_close(found, expected, rtol=0, atol=0.015)
    assert found[expected == 0].sum() == 0


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": -1}, {"top_p": 0}, {"top_p": 1.1}, {"beams": 0}, {"samples": 0}, {"max_new_tokens": 0},
     {"seed": -1}, {"temperature": float("nan")}, {"top_k": 5}, {"within_base": True},
     {"within_base": True, "top_p": 0.9, "temperature": 0}, {"within_base": True, "top_p": 0.9, "beams": 2},
     {"stop": ["."], "temperature": float("inf")}, {"stop": ["."  , ""]}],
    ids=str,
)  # fmt: skip
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=list(wrong)[-1] if "stop" in wrong else next(iter(wrong))):
        Sampling(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [{"temperature": 0, "samples": 2}, {"beams": 3, "samples": 4}, {"temperature": 0, "beams": 1, "samples": 3}],
)
def test_more_answers_than_can_differ_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=f"{wrong['samples']} answers .* would not differ"):
        Sampling(**wrong)


# -- streams -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampling", [GREEDY, DRAWN, DRAWN.model_copy(update={"seed": 6, "max_new_tokens": 40})])
def test_a_stream_is_the_generated_answer_in_pieces(engine: TransformersEngine, sampling: Sampling) -> None:
    for prompt, z in ((PROMPTS[0], Z[:1]), (PROMPTS[1], Z[1:2]), (PROMPTS[0], None)):
        pieces = list(engine.stream(one(prompt, z, sampling)))
        assert all(pieces)
        assert "".join(pieces).strip() == answers(engine, [prompt], z, sampling)[0][0]


def seeds_of_several_words(engine: TransformersEngine) -> Iterator[int]:
    """A stream goes on at white space, of which a random model writes little."""
    return (seed for seed in range(100) if len(list(engine.stream(one(PROMPTS[0], Z[:1], long(seed))))) > 1)


def long(seed: int) -> Sampling:
    return Sampling(max_new_tokens=60, seed=seed)


def test_a_stream_comes_while_it_is_written(engine: TransformersEngine) -> None:
    assert next(seeds_of_several_words(engine), None) is not None


def test_whoever_stops_reading_a_stream_stops_its_writing(engine: TransformersEngine) -> None:
    seeds = list(islice(seeds_of_several_words(engine), 3))
    written: list[float] = []
    engine.base.model.register_forward_hook(lambda *_: written.append(time.sleep(0.02) or 0))

    def tokens(seed: int, *, pieces: int | None) -> int:
        """Written of an answer of which so many pieces are read (None: all)."""
        written.clear()
        reading = engine.stream(one(PROMPTS[0], Z[:1], long(seed)))
        assert list(islice(reading, pieces))
        reading.close()
        return len(written)

    whole = [tokens(seed, pieces=None) for seed in seeds]
    begun = [tokens(seed, pieces=1) for seed in seeds]
    assert sum(begun) < sum(whole)
    time.sleep(0.1)
    assert len(written) == begun[-1]


def test_the_writers_error_is_raised_where_the_stream_is_read(
    engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: Any) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(engine.base.model, "generate", fail)
    with pytest.raises(MemoryError, match="no room"):
        list(engine.stream(one(PROMPTS[0], Z[:1], GREEDY)))


# -- room --------------------------------------------------------------------------------------------------------------


def test_a_prompt_without_room_for_its_answer_is_refused(engine: TransformersEngine) -> None:
    """The base reads 96 tokens; a prompt of n bytes has n + 2, and is never cut here."""
    fits, wanted = "a" * 84, Sampling(max_new_tokens=10, temperature=0)
    assert len(answers(engine, [fits], Z[:1], wanted)) == 1
    for call in (lambda p: answers(engine, ["a", p], Z[:2], wanted), lambda p: engine.stream(one(p, Z[:1], wanted))):
        with pytest.raises(ChoiceError, match="87 tokens and an answer of up to 10 exceed the 96") as caught:
            call(fits + "a")
        assert "\n" not in str(caught.value)


def test_an_answer_ends_where_the_model_says_so(base: Base) -> None:
    """A chat model ends its turn with another token than its tokenizer ends a text with."""
    engine = TransformersEngine(base)
    whole = answers(engine, PROMPTS[:1], None, GREEDY)[0][0]
    ids = engine.dialogue.prompt(Conversation.parse(PROMPTS[0]))
    with torch.no_grad():
        first = int(base.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
    for own in (first, [2, first]):
        base.model.generation_config.eos_token_id = own
        engine = TransformersEngine(base)
        assert engine.dialogue.ends == [2, first]
        ((answer,),) = engine.generate(requests(PROMPTS[:1], None, GREEDY))
        assert answer == Answer("", True, 1)
    base.model.generation_config.eos_token_id = None
    engine = TransformersEngine(base)
    assert engine.dialogue.ends == [2]
    assert answers(engine, PROMPTS[:1], None, GREEDY)[0][0] == whole != ""


# -- texts that stop ---------------------------------------------------------------------------------------------------


def test_a_stop_text_ends_an_answer_before_it(engine: TransformersEngine) -> None:
    """In a batch of others, in a stream, wherever it begins."""
    wanted = Sampling(max_new_tokens=30, seed=5)
    whole = answers(engine, PROMPTS, Z, wanted)
    for row in range(3):
        stop = whole[row][0][6:8]
        stopped = wanted.model_copy(update={"stop": ("never said", stop)})
        found = engine.generate(requests(PROMPTS, Z, stopped))
        for (answer,), (text,) in zip(found, whole, strict=True):
            assert answer.text == text.partition(stop)[0].strip()
            assert answer.ended == (stop in text)
        assert found[row][0].tokens < 30, "written to its end all the same"
        pieces = list(engine.stream(one(PROMPTS[row], Z[row : row + 1], stopped)))
        alone = answers(engine, [PROMPTS[row]], Z[row : row + 1], stopped)[0][0]
        assert "".join(pieces).strip() == alone
