"""Conversational preferences (lists of {role, content} messages, as TRL writes them) as plain text.

Chosen and rejected are rendered by the same rule, so nothing but the answers tells them apart:
a response is the content of its one assistant message, a prompt of one message is that message's content, and a
prompt of several messages is one `role: content` line each.
"""

from typing import Any

__all__ = ["is_conversational", "render_conversation"]

Message = tuple[str, str]
"""(role, content)."""


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


def _messages(cell: list[Any], name: str) -> list[Message]:
    if not cell:
        raise ValueError(f"{name} is an empty list of messages")
    messages = []
    for message in cell:
        role, content = (message.get("role"), message.get("content")) if isinstance(message, dict) else (None, None)
        if not (isinstance(role, str) and role.strip() and isinstance(content, str) and content.strip()):
            raise ValueError(f"{name} has a message without a text 'role' and a text 'content'")
        messages.append((role, content))
    return messages


def _render_prompt(messages: list[Message]) -> str:
    if len(messages) == 1:
        return messages[0][1]
    return "\n".join(f"{role}: {content}" for role, content in messages)


def _render_response(messages: list[Message], name: str) -> str:
    if len(messages) > 1 or messages[0][0] != "assistant":
        roles = ", ".join(role for role, _ in messages[:5])
        raise ValueError(f"{name} has the messages [{roles}] after the prompt; expected one of role 'assistant'")
    return messages[0][1]
