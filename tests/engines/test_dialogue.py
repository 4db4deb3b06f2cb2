"""From texts to tokens: nothing of a response is ever lost, and what cannot be told apart is refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tacit.choices.conversation import Conversation
from tacit.engines import Base, Dialogue, load_base
from tacit.errors import ChoiceError, ConfigError, TacitError

BOS, END = 1, 2


@pytest.fixture(scope="module")
def plain(base_folder: Path) -> Base:
    return load_base(str(base_folder))


@pytest.fixture
def chat(chat_folder: Path) -> Base:
    return load_base(str(chat_folder))


def said(*turns: str) -> Conversation:
    """Of the user and the assistant in turn, after a system turn where it begins with one."""
    first = [{"role": "system", "content": turns[0].removeprefix("system: ")}] if turns[0][:8] == "system: " else []
    rest = turns[len(first) :]
    return Conversation.parse([
        *first, *({"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(rest))
    ])  # fmt: skip


def ids_of(base: Base, text: str) -> list[int]:
    """One token a byte, read off the vocabulary."""
    return base.tokenizer.convert_tokens_to_ids(list(text.replace(" ", "Ġ").replace("\n", "Ċ")))


def one_line(call: Callable[[], object], error: type[TacitError]) -> str:
    with pytest.raises(error) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -- plain -------------------------------------------------------------------------------------------------------------


def test_plain_text_is_the_prompt_a_line_break_and_the_response_with_its_end(plain: Base) -> None:
    dialogue = Dialogue(plain)
    assert not dialogue.chat
    assert dialogue.prompt(said("Hi you")) == [BOS, *ids_of(plain, "Hi you\n")]
    assert dialogue.response(said("Hi you"), "ab c") == [*ids_of(plain, "ab c"), END]


def test_what_people_write_is_never_a_special_token_of_plain_text(plain: Base) -> None:
    dialogue, text = Dialogue(plain), "a</s><s>b"
    assert dialogue.prompt(said(text)) == [BOS, *ids_of(plain, f"{text}\n")]
    assert dialogue.response(said("Hi"), text) == [*ids_of(plain, text), END]


@pytest.mark.parametrize("text", ["Q: ", "Q:\n"])
def test_a_prompt_with_white_space_of_its_own_at_the_end_gets_no_more(plain: Base, text: str) -> None:
    assert Dialogue(plain).prompt(said(text)) == [BOS, *ids_of(plain, text)]


def test_a_longer_conversation_is_one_line_a_message(plain: Base) -> None:
    """As embedders read it."""
    asked = said("system: Be brief.", "Name a pet.", "A cat.", "A smaller one.")
    expected = "system: Be brief.\nuser: Name a pet.\nassistant: A cat.\nuser: A smaller one.\n"
    assert Dialogue(plain).prompt(asked) == [BOS, *ids_of(plain, expected)]


# -- chat --------------------------------------------------------------------------------------------------------------


def test_a_chat_response_is_what_the_template_makes_of_it_up_to_its_end(chat: Base) -> None:
    """The template's line break after the end token is no part of an answer; its role markers are the prompt's."""
    dialogue = Dialogue(chat)
    assert dialogue.chat
    assert dialogue.prompt(said("Hi")) == ids_of(chat, "<user>Hi\n<assistant>")
    assert dialogue.response(said("Hi"), "ab") == [*ids_of(chat, "ab"), END]


def test_a_template_that_leaves_out_the_end_gets_one(chat: Base) -> None:
    chat.tokenizer.chat_template = chat.tokenizer.chat_template.replace("</s>", "")
    assert Dialogue(chat).response(said("Hi"), "ab") == [*ids_of(chat, "ab\n"), END]


def test_the_template_decides_unless_plain_is_asked_for(chat: Base, plain: Base) -> None:
    assert Dialogue(chat, template="chat").chat
    assert Dialogue(chat, template="plain").prompt(said("Hi")) == [BOS, *ids_of(chat, "Hi\n")]
    assert "no chat template" in one_line(lambda: Dialogue(plain, template="chat"), ConfigError)


def test_a_template_that_rewrites_the_opening_of_an_answer_is_refused(chat: Base) -> None:
    """As those do that open with a thought and leave thoughts out of complete answers."""
    chat.tokenizer.chat_template = chat.tokenizer.chat_template.replace(
        "%}<assistant>{% endif %}", "%}<assistant><think>{% endif %}"
    )
    message = one_line(lambda: Dialogue(chat).response(said("Hi"), "ab"), ConfigError)
    assert "template=plain" in message
    assert chat.name in message


# -- what fits ---------------------------------------------------------------------------------------------------------


@given(prompt=st.integers(0, 40), response=st.integers(1, 40), limit=st.integers(2, 60))
def test_the_prompt_is_cut_from_the_left_and_the_response_never(
    plain: Base, prompt: int, response: int, limit: int
) -> None:
    dialogue = Dialogue(plain, max_length=limit)
    asked = [BOS, *range(10, 10 + prompt)]
    answer = list(range(100, 100 + response))
    if response >= limit:
        assert "raise max_length (at most 96)" in one_line(lambda: dialogue.row(asked, answer), ChoiceError)
        return
    row, counted = dialogue.row(asked, answer)
    assert counted == response
    assert row[-response:] == answer
    kept = row[:-response]
    assert len(row) == min(limit, len(asked) + response), "more is cut than needed"
    assert kept[0] == BOS
    assert kept[1:] == asked[len(asked) - len(kept) + 1 :], "not the end of the prompt"


def test_a_chat_prompt_keeps_its_end_when_cut(chat: Base) -> None:
    dialogue, asked = Dialogue(chat, max_length=20), said("a long question")
    row, counted = dialogue.row(dialogue.prompt(asked), dialogue.response(asked, "ab"))
    assert len(row) == 20
    assert chat.tokenizer.decode(row) == "question\n<assistant>ab</s>"[-20 - 3 :]
    assert counted == 3


def test_the_bases_own_limit_holds_by_default(plain: Base) -> None:
    assert plain.context == 96
    row, _ = Dialogue(plain).row(range(200), [END])
    assert len(row) == 96
    message = one_line(lambda: Dialogue(plain, max_length=97), ConfigError)
    assert "97" in message
    assert "96" in message
    message = one_line(lambda: Dialogue(plain).row([BOS], [END] * 96), ChoiceError)
    assert "raise" not in message, "what the base takes cannot be raised"
    endless = Dialogue(replace(plain, context=None))
    assert len(endless.row(range(200), [END])[0]) == 201


@pytest.mark.parametrize("text", ["", " ", "\n\t "])
def test_an_empty_response_is_refused_with_its_prompt(plain: Base, text: str) -> None:
    assert "'Hi there'" in one_line(lambda: Dialogue(plain).response(said("Hi there"), text), ChoiceError)


def test_a_long_prompt_is_shortened_in_messages(plain: Base) -> None:
    assert len(one_line(lambda: Dialogue(plain).response(said("many words\n" * 100), ""), ChoiceError)) < 120


# -- batches -----------------------------------------------------------------------------------------------------------


def test_rows_end_together_and_padding_is_masked(plain: Base) -> None:
    tokens = Dialogue(plain).batch([([5, 6, 7, 8], 2), ([9, 10], 1), ([11, 12, 13], 0)])
    assert torch.equal(tokens.ids, torch.tensor([[5, 6, 7, 8], [0, 0, 9, 10], [0, 11, 12, 13]]))
    assert torch.equal(tokens.mask, torch.tensor([[1, 1, 1, 1], [0, 0, 1, 1], [0, 1, 1, 1]]))
    assert tokens.response.tolist() == [2, 1, 0]


def test_without_a_padding_token_the_end_token_pads(plain: Base) -> None:
    base = load_base(plain.name)
    base.tokenizer.pad_token = None
    assert Dialogue(base).batch([([5, 6], 1), ([7], 1)]).ids.tolist() == [[5, 6], [END, 7]]
