"""Conversations as data: messages with roles, as people had them, from any file to any model's own chat template.

Every entrance (files, Python, the command line, TRL rewards, engines) reads prompts with `Conversation.parse` and
answers with `parse_answer`, so the same words give the same item everywhere. Accepted are

    "Name a pet."                                                      a lone user turn
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Name a pet."}]
    [{"role": "user", "content": [{"type": "text", "text": "Name a pet."}]}]          OpenAI's parts of type text
    [{"from": "human", "value": "Name a pet."}]                        ShareGPT's names

In tables, stores and hashes a prompt stands as its `key`, one string: a lone user turn is its own text, anything else
the record separator U+001E followed by its messages as JSON. Embedders read `text`, the one rendering; language models
read `messages` through their own template.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tacit.errors import ChoiceError

__all__ = ["Conversation", "Message", "Said", "is_conversational", "parse_answer", "prompt_text", "render_conversation"]

Said = "str | Sequence[Mapping[str, Any]] | Mapping[str, Any] | Conversation"
"""What a caller may give as a prompt or an answer."""

_MARK = "\x1e"
_ROLES = {"human": "user", "prompter": "user", "gpt": "assistant", "bot": "assistant", "chatgpt": "assistant",
          "model": "assistant", "developer": "system"}  # fmt: skip
_TEXT_PARTS = ("text", "input_text", "output_text")


@dataclass(frozen=True, slots=True)
class Message:
    """What one side said: a role (`system`, `user`, `assistant`, ...) and a text that is not blank."""

    role: str
    text: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages in their order, at least one."""

    messages: tuple[Message, ...]

    @classmethod
    def parse(cls, said: Any) -> "Conversation":
        """From a text, a message, a list of messages, or a conversation.

        Raises:
            ChoiceError: nothing said, a message without a role or text, or content that is no text.
        """
        if isinstance(said, Conversation):
            return said
        if isinstance(said, str):
            if not said.strip():
                raise ChoiceError("is blank; expected some text")
            return cls((Message("user", said),))
        if isinstance(said, Mapping):
            said = [said]
        if not isinstance(said, Sequence) or isinstance(said, bytes):
            raise ChoiceError(f"is {_shown(said)}, expected text or a list of messages")
        if not said:
            raise ChoiceError("is an empty list of messages")
        return cls(tuple(_message(each) for each in said))

    @classmethod
    def from_key(cls, key: str) -> "Conversation":
        """The conversation whose `key` this is. Never give it a text from outside: that goes through `parse`.

        Raises:
            ChoiceError: no key of ours.
        """
        if not key.startswith(_MARK):
            return cls((Message("user", key),))
        try:
            return cls(tuple(Message(role, text) for role, text in json.loads(key[1:])))
        except (ValueError, TypeError):
            raise ChoiceError(
                "a prompt begins with U+001E and is no stored conversation; give it through parse"
            ) from None

    @property
    def key(self) -> str:
        """One string that stands for the conversation and for no other."""
        only = self.messages[0]
        if len(self.messages) == 1 and only.role == "user" and not only.text.startswith(_MARK):
            return only.text
        said = [[message.role, message.text] for message in self.messages]
        return _MARK + json.dumps(said, ensure_ascii=False, separators=(",", ":"))

    @property
    def text(self) -> str:
        """What an embedder reads: a lone user turn as it is, else one line `role: text` a message."""
        if len(self.messages) == 1 and self.messages[0].role == "user":
            return self.messages[0].text
        return "\n".join(f"{message.role}: {message.text}" for message in self.messages)

    def to_openai(self) -> list[dict[str, str]]:
        """`[{"role": ..., "content": ...}, ...]`, as chat templates and servers take it."""
        return [{"role": message.role, "content": message.text} for message in self.messages]


def prompt_text(key: str) -> str:
    """What an embedder reads of the prompt with this key."""
    return key if not key.startswith(_MARK) else Conversation.from_key(key).text


def parse_answer(said: Any) -> str:
    """The text of one answer: a text, an assistant's message, or a list of just that.

    Raises:
        ChoiceError: blank, several messages, or one of another role.
    """
    if isinstance(said, str):
        if not said.strip():
            raise ChoiceError("is blank; expected some text")
        return said
    messages = list(Conversation.parse(said).messages)
    if [message.role for message in messages] != ["assistant"]:
        roles = ", ".join(message.role for message in messages[:5])
        raise ChoiceError(f"has the messages [{roles}]; expected one of role 'assistant'")
    return messages[0].text


def _message(said: Any) -> Message:
    if not isinstance(said, Mapping):
        raise ChoiceError(f"holds {_shown(said)}, expected messages with 'role' and 'content'")
    role = said.get("role") or said.get("from")
    content = said["content"] if said.get("content") is not None else said.get("value")
    if said.get("tool_calls") or said.get("function_call") or role in ("tool", "function"):
        raise ChoiceError("has a message with tool calls, which are not supported; leave them out")
    if not isinstance(role, str) or not role.strip():
        raise ChoiceError("has a message without a 'role'")
    text = "\n".join(_part(part) for part in content) if isinstance(content, list) else content
    if not isinstance(text, str) or not text.strip():
        raise ChoiceError(f"has a message of role {role!r} without text")
    role = role.strip().lower()
    return Message(_ROLES.get(role, role), text)


def _part(part: Any) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, Mapping) and part.get("type") in _TEXT_PARTS and isinstance(part.get("text"), str):
        return part["text"]
    kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
    raise ChoiceError(f"has content of type {kind!r}; only text is supported")


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 40 else text[:37] + "..."


def is_conversational(*cells: object) -> bool:
    """Whether any cell is a list of messages."""
    return any(isinstance(cell, list) for cell in cells)


def render_conversation(prompt: Any, chosen: Any, rejected: Any) -> tuple[Any, Any, Any]:
    """(prompt, chosen, rejected) as text; cells that are no lists pass through.

    Messages that chosen and rejected share at their beginning are the prompt (TRL's implicit form); where a prompt is
    given as well, it must say the same.

    Raises:
        ValueError: with the cause, in words for the user.
    """
    if isinstance(prompt, list):
        prompt = _render_prompt(_messages(prompt, "prompt"))
    if not is_conversational(chosen, rejected):
        return prompt, chosen, rejected
    if not (isinstance(chosen, list) and isinstance(rejected, list)):
        raise ValueError("one of chosen and rejected is a list of messages; expected both")  # noqa: TRY004
    left, right = _messages(chosen, "chosen"), _messages(rejected, "rejected")
    shared = 0
    while shared < min(len(left), len(right)) - 1 and left[shared] == right[shared]:
        shared += 1
    if shared:
        implicit = _render_prompt(left[:shared])
        if prompt is not None and prompt != implicit:
            raise ValueError("prompt differs from the messages that chosen and rejected begin with")
        prompt = implicit
    elif prompt is None:
        raise ValueError("prompt is missing, and chosen and rejected begin with different messages")
    return prompt, _render_response(left[shared:], "chosen"), _render_response(right[shared:], "rejected")


def _messages(cell: list[Any], name: str) -> list[tuple[str, str]]:
    if not cell:
        raise ValueError(f"{name} is an empty list of messages")
    messages = []
    for message in cell:
        role, content = (message.get("role"), message.get("content")) if isinstance(message, dict) else (None, None)
        if not (isinstance(role, str) and role.strip() and isinstance(content, str) and content.strip()):
            raise ValueError(f"{name} has a message without a text 'role' and a text 'content'")
        messages.append((role, content))
    return messages


def _render_prompt(messages: list[tuple[str, str]]) -> str:
    if len(messages) == 1:
        return messages[0][1]
    return "\n".join(f"{role}: {content}" for role, content in messages)


def _render_response(messages: list[tuple[str, str]], name: str) -> str:
    if len(messages) > 1 or messages[0][0] != "assistant":
        roles = ", ".join(role for role, _ in messages[:5])
        raise ValueError(f"{name} has the messages [{roles}] after the prompt; expected one of role 'assistant'")
    return messages[0][1]
