"""From a prompt and a response to the tokens that the base model reads, and which of them are the response.

Prompt and response are tokenised apart, as they are when the model writes the response itself, so the first response
token is known exactly. The response ends with the token that ends an answer, which counts: a policy that never learns
to stop does not steer length.

- With a chat template, the prompt is one user's turn with the template's opening of the answer, and the response is
  what the template makes of the answer up to its end-of-turn token.
- Without one, prompt and response are divided by a line break (unless the prompt ends in white space of its own), after
  the tokens that the tokenizer puts before a text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tacit.engines.transformers.base import Base
from tacit.errors import ChoiceError, ConfigError
from tacit.steering.config import Template

__all__ = ["Dialogue", "Tokens"]


@dataclass(frozen=True)
class Tokens:
    """Padded rows, all ending in the last column, as generation needs them too.

    Shapes:
        ids, mask: Int64[rows tokens], mask 0 on padding.
        response: Int64[rows], how many tokens at the end of the row are the response.
    """

    ids: Tensor
    mask: Tensor
    response: Tensor

    def to(self, device: torch.device) -> "Tokens":
        """The same elsewhere."""
        return Tokens(self.ids.to(device), self.mask.to(device), self.response.to(device))

    def of_rows(self, rows: Tensor) -> "Tokens":
        """Some rows (Int64[chosen]), with no more padding than they need."""
        mask = self.mask[rows]
        longest = int(mask.sum(1).max())
        return Tokens(self.ids[rows, -longest:], mask[:, -longest:], self.response[rows])


class Dialogue:
    """The tokens of prompts and responses for one base model.

    Args:
        base: whose tokenizer and template are used.
        template: `chat`, `plain`, or `auto`: chat where the tokenizer has a template.
        max_length: tokens of prompt and response together; longer prompts lose their beginning. Default: what the
            model takes.

    Raises:
        ConfigError: a chat template that is asked for and absent, or a `max_length` beyond the model's.
    """

    def __init__(self, base: Base, *, template: Template = "auto", max_length: int | None = None) -> None:
        self.base, self._tokenizer = base, base.tokenizer
        has = bool(getattr(self._tokenizer, "chat_template", None))
        if template == "chat" and not has:
            raise ConfigError(f"base '{base.name}' has no chat template; give template=plain")
        self.chat = has if template == "auto" else template == "chat"
        if max_length and base.context and max_length > base.context:
            raise ConfigError(f"max_length {max_length} is more than the {base.context} tokens of base '{base.name}'")
        self.max_length = max_length or base.context
        self._start = [] if self.chat else _tokens_before_text(self._tokenizer)

    def prompt(self, text: str) -> list[int]:
        """The tokens of a prompt, up to where the answer begins."""
        if self.chat:
            return self._tokens(self._opened(text))
        ids = [*self._start, *self._tokens(text if not text or text[-1].isspace() else f"{text}\n")]
        return ids or [self._tokenizer.eos_token_id]  # an answer needs a token to follow

    def response(self, prompt: str, text: str) -> list[int]:
        """The tokens of an answer, its end included.

        Raises:
            ChoiceError: an empty answer.
        """
        if not text.strip():
            raise ChoiceError(f"the response to {_short(prompt)} is empty; expected some text")
        end = self._tokenizer.eos_token_id
        if not self.chat:
            return [*self._tokens(text), end]
        turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": text}]
        whole, opened = self._tokenizer.apply_chat_template(turns, tokenize=False), self._opened(prompt)
        if not whole.startswith(opened):
            raise ConfigError(
                f"the chat template of base '{self.base.name}' writes an answer differently when it is opened and when "
                "it is complete, so its tokens cannot be told apart; give template=plain"
            )
        ids = self._tokens(whole.removeprefix(opened))
        return ids[: ids.index(end) + 1] if end in ids else [*ids, end]

    def row(self, prompt: Sequence[int], response: Sequence[int]) -> tuple[list[int], int]:
        """One row of tokens and how many of them are the response; a prompt that does not fit loses its beginning.

        Raises:
            ChoiceError: a response that leaves no room for any prompt.
        """
        room = (self.max_length or len(prompt) + len(response)) - len(response)
        if room < 1:
            raise ChoiceError(
                f"a response of {len(response)} tokens does not fit into {self.max_length}; raise max_length, or leave "
                f"the choice out ({_short(self._tokenizer.decode(list(response)))})"
            )
        start = self._start
        if len(prompt) > room:
            kept = max(0, room - len(start))
            prompt = [*start[:room], *prompt[len(prompt) - kept :]]
        return [*prompt, *response], len(response)

    def batch(self, rows: Sequence[tuple[Sequence[int], int]]) -> Tokens:
        """Rows of `row` (or prompts alone, as (tokens, 0)), padded on the left."""
        longest = max(len(ids) for ids, _ in rows)
        pad = self.base.pad
        ids = torch.tensor([[pad] * (longest - len(row)) + list(row) for row, _ in rows])
        length = torch.tensor([len(row) for row, _ in rows])
        mask = (torch.arange(longest) >= longest - length.unsqueeze(1)).long()
        return Tokens(ids, mask, torch.tensor([response for _, response in rows]))

    def _opened(self, prompt: str) -> str:
        turns = [{"role": "user", "content": prompt}]
        return self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)

    def _tokens(self, text: str) -> list[int]:
        """A template is written in special tokens; without one, what looks like one is what a person wrote."""
        asked: dict[str, Any] = {"add_special_tokens": False, "split_special_tokens": not self.chat, "verbose": False}
        return self._tokenizer(text, **asked)["input_ids"]


def _tokens_before_text(tokenizer: Any) -> list[int]:
    """What the tokenizer puts before a text, such as a beginning-of-text token."""
    bare, framed = (tokenizer("a", add_special_tokens=special)["input_ids"] for special in (False, True))
    return framed[: max(0, framed.index(bare[0]))] if bare and bare[0] in framed else []


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:37]}...")
