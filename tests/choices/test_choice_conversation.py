from typing import Any

import pytest

from tacit.choices.conversation import render_conversation


def said(*messages: tuple[str, str]) -> list[dict[str, Any]]:
    return [{"role": role, "content": content} for role, content in messages]


ASK, YES, NO = ("user", "Tea?"), ("assistant", "Yes."), ("assistant", "No.")


def test_explicit_implicit_and_plain_forms_agree() -> None:
    expected = ("Tea?", "Yes.", "No.")
    assert render_conversation(*expected) == expected
    assert render_conversation(said(ASK), said(YES), said(NO)) == expected
    assert render_conversation(None, said(ASK, YES), said(ASK, NO)) == expected
    assert render_conversation("Tea?", said(ASK, YES), said(ASK, NO)) == expected
    assert render_conversation(said(ASK), said(ASK, YES), said(ASK, NO)) == expected
    assert render_conversation(said(ASK), "Yes.", "No.") == expected


def test_long_prompts_keep_their_roles() -> None:
    turns = (("system", "Be brief."), ASK, YES, ("user", "Milk?"))
    text = "system: Be brief.\nuser: Tea?\nassistant: Yes.\nuser: Milk?"
    assert render_conversation(said(*turns), said(YES), said(NO))[0] == text
    assert render_conversation(None, said(*turns, YES), said(*turns, NO)) == (text, "Yes.", "No.")


def test_identical_answers_stay_answers() -> None:
    assert render_conversation(None, said(ASK, YES), said(ASK, YES)) == ("Tea?", "Yes.", "Yes.")


@pytest.mark.parametrize(
    ("cells", "cause"),
    [
        ((None, said(YES), said(NO)), "prompt is missing"),
        (("Milk?", said(ASK, YES), said(ASK, NO)), "prompt differs"),
        (("Tea?", said(YES), "No."), "expected both"),
        (("Tea?", None, said(NO)), "expected both"),
        (("Tea?", said(YES, ASK), said(NO)), r"chosen has the messages \[assistant, user\]"),
        (("Tea?", said(ASK), said(NO)), r"chosen has the messages \[user\]"),
        (("Tea?", [], said(NO)), "chosen is an empty list"),
        (([{"role": "user"}], said(YES), said(NO)), "prompt has a message without"),
        ((["Tea?"], said(YES), said(NO)), "prompt has a message without"),
        (("Tea?", [{"role": "assistant", "content": [{"type": "text"}]}], said(NO)), "chosen has a message without"),
    ],
)
def test_faulty_conversations_name_their_cause(cells: tuple[Any, Any, Any], cause: str) -> None:
    with pytest.raises(ValueError, match=cause):
        render_conversation(*cells)
