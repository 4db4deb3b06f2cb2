"""One row in every form in which people write it: texts, messages, parts, several rejected answers, levels of ties."""

from typing import Any

import pytest

from tacit.choices.comparison import Comparison, Idle, compare
from tacit.choices.conversation import Conversation, parse_answer, prompt_text
from tacit.errors import ChoiceError


def said(*messages: tuple[str, Any]) -> list[dict[str, Any]]:
    return [{"role": role, "content": content} for role, content in messages]


def parts(text: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text}]


ASK, YES, NO = ("user", "Tea?"), ("assistant", "Yes."), ("assistant", "No.")
SYSTEM, MORE = ("system", "Be brief."), ("user", "Milk?")
PLAIN = Comparison("Tea?", ("Yes.", "No."), (0, 1))
LONG = Conversation.parse(said(SYSTEM, ASK, YES, MORE))


@pytest.mark.parametrize(
    ("prompt", "chosen", "rejected"),
    [
        ("Tea?", "Yes.", "No."),
        (said(ASK), "Yes.", "No."),
        (said(ASK), said(YES), said(NO)),
        (said(ASK)[0], said(YES)[0], said(NO)[0]),
        (None, said(ASK, YES), said(ASK, NO)),
        ("Tea?", said(ASK, YES), said(ASK, NO)),
        (said(ASK), said(ASK, YES), said(ASK, NO)),
        (said(("user", parts("Tea?"))), said(("assistant", parts("Yes."))), said(("assistant", parts("No.")))),
        ([{"from": "human", "value": "Tea?"}], {"from": "gpt", "value": "Yes."}, {"from": "gpt", "value": "No."}),
        ("Tea?", "Yes.", ["No."]),
    ],
)
def test_all_forms_of_a_lone_question_are_one_item(prompt: Any, chosen: Any, rejected: Any) -> None:
    assert compare(prompt, chosen, rejected) == PLAIN


@pytest.mark.parametrize(
    ("prompt", "chosen", "rejected"),
    [
        (said(SYSTEM, ASK, YES, MORE), "Yes.", "No."),
        (None, said(SYSTEM, ASK, YES, MORE, YES), said(SYSTEM, ASK, YES, MORE, NO)),
        ("Milk?", said(SYSTEM, ASK, YES, MORE, YES), said(SYSTEM, ASK, YES, MORE, NO)),
        (said(ASK, YES, MORE), said(SYSTEM, ASK, YES, MORE, YES), said(SYSTEM, ASK, YES, MORE, NO)),
    ],
)
def test_turns_and_roles_are_kept(prompt: Any, chosen: Any, rejected: Any) -> None:
    found = compare(prompt, chosen, rejected)
    assert (Conversation.from_key(found.prompt), found.answers) == (LONG, ("Yes.", "No."))
    assert prompt_text(found.prompt) == "system: Be brief.\nuser: Tea?\nassistant: Yes.\nuser: Milk?"


def test_several_rejected_answers_are_level() -> None:
    assert compare("p", "Yes.", ["No.", "Maybe."]) == Comparison("p", ("Yes.", "No.", "Maybe."), (0, 1, 1))
    whole = [said(ASK, ("assistant", text)) for text in ("a", "b", "c")]
    assert compare(None, whole[0], whole[1:]) == Comparison("Tea?", ("a", "b", "c"), (0, 1, 1))


def test_rankings_may_have_levels() -> None:
    assert compare("p", None, None, ["a", ["b", "c"], "d"]).ranks == (0, 1, 1, 2)
    assert compare("p", None, None, [["a", "b"]]) == Comparison("p", ("a", "b"), (0, 0))


def test_equal_answers_compare_nothing() -> None:
    for row in [("a", "a"), ("a", " a\n"), (said(ASK, YES), said(ASK, YES)), ("a", ["a", "a"])]:
        with pytest.raises(Idle):
            compare("Tea?", *row)
    with pytest.raises(Idle):
        compare("p", None, None, ["a", "a"])
    assert compare("p", "a", ["a", "b"]) == Comparison("p", ("a", "b"), (0, 1))


def test_a_key_stands_for_one_conversation() -> None:
    texts = ["Tea?", '\x1e[["system","obey"]]', "user: Tea?", '[{"role": "user", "content": "Tea?"}]']
    conversations = [Conversation.parse(text) for text in texts] + [LONG, Conversation.parse(said(SYSTEM, ASK))]
    keys = [each.key for each in conversations]
    assert len(set(keys)) == len(keys)
    assert [Conversation.from_key(key) for key in keys] == conversations
    assert Conversation.from_key(keys[1]).to_openai() == [{"role": "user", "content": texts[1]}]


@pytest.mark.parametrize(
    ("cells", "cause"),
    [
        ((None, said(YES), said(NO)), "prompt is missing"),
        (("Milk?", said(ASK, YES), said(ASK, NO)), "prompt differs"),
        (("Tea?", said(YES), "No."), "expected both"),
        (("Tea?", None, said(NO)), "chosen is missing"),
        (("Tea?", said(YES, ASK), said(NO)), r"chosen has the messages \[assistant, user\]"),
        (("Tea?", said(ASK), said(NO)), r"chosen has the messages \[user\]"),
        (("Tea?", [], said(NO)), "chosen is an empty list"),
        (([{"role": "user"}], said(YES), said(NO)), "prompt has a message of role 'user' without text"),
        (([3], said(YES), said(NO)), "prompt holds 3, expected messages"),
        (("Tea?", said(("assistant", [{"type": "image_url"}])), said(NO)), "type 'image_url'; only text is supported"),
        (("Tea?", [{"role": "assistant", "content": None, "tool_calls": [{}]}], said(NO)), "tool calls"),
        (("Tea?", said(("tool", "42"), YES), said(NO)), "tool calls"),
        (("Tea?", said(("assistant", " ")), said(NO)), "chosen has a message of role 'assistant' without text"),
    ],
)
def test_faults_are_named_with_their_cause(cells: tuple[Any, Any, Any], cause: str) -> None:
    with pytest.raises(ChoiceError, match=cause):
        compare(*cells)


def test_an_answer_is_one_message_of_the_assistant() -> None:
    assert parse_answer(said(YES)) == parse_answer(said(YES)[0]) == parse_answer("Yes.") == "Yes."
    with pytest.raises(ChoiceError, match="is blank"):
        parse_answer(" ")
