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

__all__ = ["Conversation", "Message", "Said", "parse_answer", "prompt_said", "prompt_text"]

Said = "str | Sequence[Mapping[str, Any]] | Mapping[str, Any] | Conversation"
"""What a caller may give as a prompt or an answer."""

_MARK = "\x1e"
_TOOLS = ("tool", "function", "function_call", "observation", "ipython")
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
        """The conversation whose `key` this is. Never give it a text from outside: that goes through `parse`."""
        if not key.startswith(_MARK):
            return cls((Message("user", key),))
        try:
            return cls(tuple(Message(role, text) for role, text in json.loads(key[1:])))
        except (ValueError, TypeError):  # a text that was never parsed
            return cls((Message("user", key),))

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
        """What an embedder reads: a lone user turn as it is, else a line of role, colon and text for each message."""
        if len(self.messages) == 1 and self.messages[0].role == "user":
            return self.messages[0].text
        return "\n".join(f"{message.role}: {message.text}" for message in self.messages)

    def to_openai(self) -> list[dict[str, str]]:
        """`[{"role": ..., "content": ...}, ...]`, as chat templates and servers take it."""
        return [{"role": message.role, "content": message.text} for message in self.messages]


def prompt_said(key: str) -> str | list[dict[str, str]]:
    """The prompt with this key as people give it: a lone question as its text, else messages."""
    return key if not key.startswith(_MARK) else Conversation.from_key(key).to_openai()


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
    if said.get("tool_calls") or said.get("function_call") or role in _TOOLS:
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
