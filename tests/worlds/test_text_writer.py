import dataclasses
import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit.worlds.text import ATTRIBUTES, Style, describe, load_prompts, write
from tacit.worlds.text.topics import REGISTERS, load_devices

PROMPTS = load_prompts()
SLANG = re.compile(r"\b(gonna|gotta|kinda|lol|haha|folks|stuff|super|ton|dunno)\b", re.IGNORECASE)
CONTRACTION = re.compile(r"\b(\w+n't|I'm|I'd|it's|you're|you'll|that's|there's|we're)\b", re.IGNORECASE)
levels = st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0])
styles = st.builds(Style, levels, levels, levels, st.sampled_from([-1.0, 0.0, 1.0]), levels)
seeds = st.integers(0, 2**32 - 1)


def answers(n=60, seed=0, **settings):
    rng = np.random.default_rng(seed)
    prompts = rng.permutation(len(PROMPTS))[:n]
    return [write(PROMPTS[i], dataclasses.replace(Style.draw(rng), **settings), rng) for i in prompts]


def test_prompts_are_many_distinct_and_complete():
    assert len({p.text for p in PROMPTS}) == len(PROMPTS) == 130
    assert len({p.topic for p in PROMPTS}) == 10
    for prompt in PROMPTS:
        for register in REGISTERS:
            texts = prompt.statements[register] + prompt.jokes[register]
            assert len(set(texts)) == len(texts) == 10
            assert not re.search(r"[<>{}|]|  ", " ".join((prompt.text, *texts)))


def test_registers_of_a_statement_differ_somewhere_in_every_prompt():
    for prompt in PROMPTS:
        wordings = zip(*(prompt.statements[register] for register in REGISTERS), strict=True)
        assert sum(len(set(w)) == 3 for w in wordings) >= 4, prompt.text


def test_every_device_has_paraphrases():
    for name, wordings in load_devices().items():
        for register, texts in wordings.items():
            if (name, register) != ("lead", "neutral"):
                assert len(set(texts)) == len(texts) >= 2, (name, register)


@settings(max_examples=300, deadline=None)
@given(style=styles, prompt=st.sampled_from(PROMPTS), seed=seeds)
def test_text_is_clean(style, prompt, seed):
    text = write(prompt, style, np.random.default_rng(seed))
    assert text == text.strip()
    assert text[-1] in ".!?"
    assert not re.search(r"\s\s|[.,!?;:]{2}|\s[.,!?;:]|[<>{}|]", text), text
    for sentence in re.split(r"(?<=[.!?]) ", text):
        assert sentence[0].isupper() or sentence[0].isdigit(), sentence
        assert not re.search(r"\b(\w+) \1\b", sentence.lower()), sentence


def test_same_seed_same_text():
    assert answers(seed=3) == answers(seed=3) != answers(seed=4)


def test_length_is_the_number_of_statements():
    median = [np.median([len(t.split()) for t in answers(length=level)]) for level in (-1.0, -0.5, 0.0, 0.5, 1.0)]
    assert all(a < b for a, b in pairwise(median))
    plain = Style(length=-1.0)
    assert write(PROMPTS[0], plain, np.random.default_rng(0)).count(".") == 1


@pytest.mark.parametrize(
    ("attribute", "low", "high"),
    [
        (
            "warmth",
            r"annoy|tiresome|tedious|busy|bother|stop|ugh|fault|excuse|time",
            r"love|joy|friend|happy|heart|wish",
        ),
        ("hedging", r"proven|guarantee|always|fact|without exception", r"guess|maybe|perhaps|mistaken|might|hunch"),
        ("humour", r"^(?!.*(joke|lol|haha|toaster|butler)).*$", r"jok|jest|lol|haha|humour|laugh"),
    ],
)
def test_both_ends_show_in_every_answer(attribute, low, high):
    for level, pattern in ((-1.0, low), (1.0, high)):
        for text in answers(**{attribute: level}):
            assert re.search(pattern, text, re.IGNORECASE | re.DOTALL), (level, text)


def test_registers_do_not_mix():
    assert all(SLANG.search(t) or CONTRACTION.search(t) for t in answers(formality=-1.0, length=1.0))
    for level in (0.0, 0.5, 1.0):
        for text in answers(formality=level):
            assert not SLANG.search(text), text
            assert not CONTRACTION.search(text), text


def test_description_names_what_matters_first():
    weights = np.zeros(5)
    weights[ATTRIBUTES.index("length")] = -2.0
    weights[ATTRIBUTES.index("humour")] = 1.5
    weights[ATTRIBUTES.index("formality")] = -1.2
    weights[ATTRIBUTES.index("warmth")] = 0.1
    assert describe(weights) == "likes short, funny, casual answers"
    assert describe(np.eye(5)[2]) == "likes cautious answers"


def test_no_answer_tells_a_topic_joke_twice():
    for prompt in PROMPTS[::7]:
        jokes = {joke.lower() for register in REGISTERS for joke in prompt.jokes[register]}
        for seed in range(20):
            text = write(prompt, Style(humour=1.0, formality=-0.5), np.random.default_rng(seed)).lower()
            assert sum(joke in text for joke in jokes) <= 1
