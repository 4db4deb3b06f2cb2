"""Reading an answer's style back from its words: what the writer wrote, and what no writer would."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from tacit.worlds.text import ATTRIBUTES, Prompt, Style, TextWorld, load_prompts, write
from tacit.worlds.text.reader import read_answer
from tacit.worlds.text.topics import load_devices
from tacit.worlds.text.writer import contract

PROMPTS = load_prompts()
PLAIN = Style()


def written(count: int, seed: int = 0) -> list[tuple[Prompt, Style, str]]:
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        prompt, style = PROMPTS[number % len(PROMPTS)], Style.draw(rng)
        found.append((prompt, style, write(prompt, style, rng)))
    return found


def answer(prompt: Prompt, style: Style = PLAIN, seed: int = 0) -> str:
    return write(prompt, style, np.random.default_rng(seed))


def true_attributes(style: Style, text: str) -> tuple[float, ...]:
    return np.log(len(text.split())), style.warmth, style.hedging, style.humour, style.formality


# -- what the writer wrote ---------------------------------------------------------------------------------------------


def test_nothing_that_the_writer_wrote_is_malformed() -> None:
    assert [text for prompt, _, text in written(400) if read_answer(prompt.text, text).malformed] == []


@pytest.mark.parametrize("axis", range(len(ATTRIBUTES)), ids=ATTRIBUTES)
def test_every_attribute_is_read_back(axis: int) -> None:
    answers = written(300)
    found = [read_answer(prompt.text, text).attributes()[axis] for prompt, _, text in answers]
    true = [true_attributes(style, text)[axis] for _, style, text in answers]
    assert np.corrcoef(found, true)[0, 1] > 0.98
    slope, offset = np.polyfit(true, found, 1)
    assert slope == pytest.approx(1, abs=0.06), "on the same scale"
    assert offset == pytest.approx(0, abs=0.06)


def test_length_is_exact() -> None:
    for prompt, style, text in written(50):
        assert read_answer(prompt.text, text).attributes()[0] == pytest.approx(true_attributes(style, text)[0])


def test_an_answer_is_counted_sentence_by_sentence() -> None:
    prompt = PROMPTS[0]
    reading = read_answer(prompt.text, answer(prompt, Style(length=-1.0)))
    assert reading.found["statement"] == 1
    assert "joke" not in reading.found
    several = read_answer(prompt.text, answer(prompt, Style(length=0.5, humour=1.0)))
    assert several.found["statement"] == 4
    assert several.found["joke"] == 2
    assert several.style().humour == 1.0


def test_contractions_do_not_matter() -> None:
    changed = [(prompt, text) for prompt, _, text in written(150) if contract(text) != text]
    assert len(changed) > 20
    for prompt, text in changed:
        assert read_answer(prompt.text, contract(text)).found == read_answer(prompt.text, text).found
        assert read_answer(prompt.text, contract(text)).malformed == 0


# -- what no writer would write ----------------------------------------------------------------------------------------


def other_subject(prompt: Prompt) -> Prompt:
    """A prompt of another topic, none of whose statements holds here."""
    return next(other for other in PROMPTS if other.topic != prompt.topic)


@pytest.mark.parametrize("number", range(0, len(PROMPTS), 10))
def test_a_sentence_about_another_subject_is_malformed(number: int) -> None:
    prompt = PROMPTS[number]
    stray = other_subject(prompt).statements["neutral"][0]
    text = f"{answer(prompt)} {stray[0].upper() + stray[1:]}."
    assert read_answer(prompt.text, text).malformed == 1
    whole = read_answer(prompt.text, answer(other_subject(prompt)))
    assert whole.malformed >= 3


def test_a_sibling_subjects_facts_are_malformed_too() -> None:
    """Of one topic, where only names and numbers differ."""
    for prompt, sibling in pairwise(PROMPTS):
        own = {said for statements in prompt.statements.values() for said in statements}
        stray = next(said for said in sibling.statements["neutral"] if said not in own)
        text = f"{answer(prompt)} {stray[0].upper() + stray[1:]}."
        assert read_answer(prompt.text, text).malformed == 1, stray


@pytest.mark.parametrize("cut", [0.3, 0.5, 0.9])
def test_a_sentence_that_breaks_off_is_malformed(cut: float) -> None:
    for prompt, _, text in written(60):
        last = text.rindex(" ", 0, -2)
        start = max(text.rfind(". ", 0, last), text.rfind("! ", 0, last), text.rfind("? ", 0, last)) + 2
        words = text[start:].split()
        kept = " ".join(words[: max(1, int(cut * len(words)))]).rstrip(".!?")
        whole, broken = read_answer(prompt.text, text), read_answer(prompt.text, f"{text[:start]}{kept}".strip())
        assert whole.malformed == 0
        assert broken.malformed >= 1, (text, kept)


@pytest.mark.parametrize("seed", range(5))
def test_word_salad_is_malformed_and_of_no_style(seed: int) -> None:
    prompt = PROMPTS[7 * seed]
    words = answer(prompt, Style(length=1.0, warmth=1.0, hedging=1.0, humour=1.0)).split()
    salad = " ".join(np.random.default_rng(seed).permutation(words))
    reading = read_answer(prompt.text, salad)
    assert reading.malformed >= 1
    assert reading.malformed >= 0.8 * (reading.malformed + sum(reading.found.values()))
    assert reading.words == len(words)


@pytest.mark.parametrize("text", ["", "   ", "?!", "ok", "Ünïcödé 🙂", "a" * 5000, "\n\n- list\n- of things\n"])
def test_any_text_is_read(text: str) -> None:
    reading = read_answer(PROMPTS[0].text, text)
    assert all(np.isfinite(reading.attributes()))
    assert reading.found == {}
    assert reading.style().humour == -1.0


def test_a_joke_alone_is_no_answer_but_no_nonsense_either() -> None:
    prompt = PROMPTS[0]
    joke = load_devices()["joke"]["neutral"][0]
    reading = read_answer(prompt.text, joke)
    assert (reading.malformed, reading.found) == (0, {"joke": 1})


def test_only_statements_stand_behind_prefixes() -> None:
    prompt, devices = PROMPTS[0], load_devices()
    prefix, statement = devices["claim"]["neutral"][0], prompt.statements["neutral"][0]
    capital = prefix[0].upper() + prefix[1:]
    behind = read_answer(prompt.text, f"{capital} {statement}.")
    assert (behind.malformed, behind.found) == (0, {"claim": 1, "statement": 1})
    for device in ("joke", "warm_opener", "cold_closer"):
        assert read_answer(prompt.text, f"{capital} {devices[device]['neutral'][0]}").malformed >= 1


def test_half_a_style_is_read_as_half() -> None:
    """A language model may leave out what the writer always puts in."""
    prompt, devices = PROMPTS[0], load_devices()
    fact = f"{prompt.statements['neutral'][0][0].upper()}{prompt.statements['neutral'][0][1:]}."
    said = {device: devices[device]["neutral"][0] for device in ("warm_opener", "warm_aside", "cold_closer")}
    warmth = {
        (): 0.0, ("warm_aside",): 0.25, ("warm_opener",): 0.5, ("warm_opener", "warm_aside"): 0.75,
        ("warm_opener", "cold_closer"): 0.0, ("cold_closer",): -0.5,
    }  # fmt: skip
    for devices_, expected in warmth.items():
        reading = read_answer(prompt.text, " ".join([fact, *(said[device] for device in devices_)]))
        assert reading.malformed == 0
        assert reading.style().warmth == expected, devices_


def test_a_prompt_of_another_world_is_refused() -> None:
    with pytest.raises(KeyError):
        read_answer("What is love?", "Baby, don't hurt me.")


# -- in units of the world ---------------------------------------------------------------------------------------------


def test_the_world_measures_as_it_standardises() -> None:
    world = TextWorld.generate(seed=3, n_prompts=12, responses_per_prompt=12, n_users=2, choices_per_user=4)
    found = torch.cat([
        world.measure(prompt, [text for asked, text in world.items if asked == prompt]) for prompt in world.prompts
    ])  # fmt: skip
    assert found.shape == world.attributes.shape
    assert_close(found[:, 0], world.attributes[:, 0], rtol=0, atol=1e-4)
    assert (found - world.attributes).abs().mean() < 0.1
    for axis in range(len(ATTRIBUTES)):
        assert torch.corrcoef(torch.stack([found[:, axis], world.attributes[:, axis]]))[0, 1] > 0.98
    # weights of attributes give the same rewards, whoever wrote
    rewards = world.weights @ found.T
    assert torch.corrcoef(torch.stack([rewards.flatten(), world.rewards().flatten()]))[0, 1] > 0.98


def test_measuring_nothing_gives_nothing() -> None:
    world = TextWorld.generate(seed=3, n_prompts=2, responses_per_prompt=3, n_users=2, choices_per_user=2)
    assert world.measure(world.prompts[0], []).shape == (0, len(ATTRIBUTES))
    with pytest.raises(KeyError):
        world.measure("What is love?", ["Baby, don't hurt me."])
