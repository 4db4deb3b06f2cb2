"""From a conversation and an answer to the tokens that the base reads, and which of them are the answer.

Prompt and answer are tokenised apart, as they are when the model writes the answer itself, so the first answer token is
known exactly. An answer ends with one end, which counts: a policy that never learns to stop does not steer length.

- With a chat template, the prompt is every turn in its role as the template writes it, with the template's opening of
  the answer; the answer is what the template makes of it up to the token that ends the turn.
- Without one, a lone user turn is its own text and a longer conversation one line `role: text` a message; prompt and
  answer are divided by a line break (unless the prompt ends in white space of its own), after the tokens that the
  tokenizer puts before a text. An answer ends with the tokenizer's end.

What people write is text and never markup: where it holds the name of a control token, it is tokenised by itself, and
that name letter by letter. Everything else is tokenised whole, as ever.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from tacit.choices.conversation import Conversation
from tacit.engines.transformers.base import Base
from tacit.errors import ChoiceError, ConfigError
from tacit.steering.config import Template

__all__ = ["Dialogue", "Tokens"]

_PLACE = "\ue0a0{}\ue0a1"  # stands for a text in a template; of Unicode's private use, so hardly in anybody's
_PROBE = _PLACE.format(0)


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
    """The tokens of conversations and answers for one base model.

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

    @cached_property
    def ends(self) -> list[int]:
        """The tokens that end an answer: those of tokenizer and model settings, and the template's end of turn."""
        return list(dict.fromkeys([*self.base.ends, *([] if self._turn_end is None else [self._turn_end])]))

    def prompt(self, conversation: Conversation) -> list[int]:
        """The tokens of a prompt, up to where the answer begins.

        Raises:
            ChoiceError: turns that the template refuses or leaves out.
        """
        if not self.chat:
            text = conversation.text
            return [*self._start, *self._tokens(text if text[-1].isspace() else f"{text}\n", markup=False)]
        messages = conversation.to_openai()
        for message in messages:
            if self._control.search(message["role"]):
                raise ChoiceError(
                    f"a message has the role {_short(message['role'])}; expected user, assistant or system"
                )
        if messages[0]["role"] == "system" and not self._keeps_system:
            raise ChoiceError(
                f"the chat template of base '{self.base.name}' leaves out system turns; leave it out of the prompt, or "
                "give template=plain"
            )
        return self._opened(messages)

    def response(self, conversation: Conversation, text: str) -> list[int]:
        """The tokens of an answer, its end included.

        Raises:
            ChoiceError: an empty answer.
        """
        if not text.strip():
            raise ChoiceError(f"the response to {_short(conversation.text)} is empty; expected some text")
        if not self.chat:
            return [*self._tokens(text, markup=False), self._tokenizer.eos_token_id]
        messages = conversation.to_openai()
        opened = self._render(messages, open_answer=True)
        written = self._answered(opened, messages, text)
        if self._control.search(text):  # its place is looked up with a stand-in
            before, found, after = self._answered(opened, messages, _PROBE).partition(_PROBE)
            own = next((own for own in (text, text.strip()) if before + own + after == written), None)
            if not found or own is None:
                raise self._rewritten()
            ids = [*self._tokens(before), *self._tokens(own, markup=False)]
            return [*ids, *self._to_end(self._tokens(after))]
        return self._to_end(self._tokens(written))

    def row(self, prompt: Sequence[int], response: Sequence[int]) -> tuple[list[int], int]:
        """One row of tokens and how many of them are the response; a prompt that does not fit loses its beginning.

        Raises:
            ChoiceError: a response that leaves no room for any prompt.
        """
        room = (self.max_length or len(prompt) + len(response)) - len(response)
        if room < 1:
            limit = self.base.context
            advice = "shorten it, or leave it out"
            if limit is None or (self.max_length or 0) < limit:
                advice = f"raise max_length{'' if limit is None else f' (at most {limit})'}, or leave it out"
            raise ChoiceError(
                f"a response of {len(response)} tokens does not fit into {self.max_length} with its prompt; {advice} "
                f"({_short(self._tokenizer.decode(list(response)))})"
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

    # -- templates -----------------------------------------------------------------------------------------------------

    def _render(self, messages: list[dict[str, str]], *, open_answer: bool = False) -> str:
        try:
            return self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=open_answer)
        except Exception as error:  # whatever a template raises: jinja's own errors, and those of what it calls
            roles = ", ".join(message["role"] for message in messages)
            raise ChoiceError(
                f"the chat template of base '{self.base.name}' refuses the turns [{roles}]: "
                f"{' '.join(str(error).split())[:200]}; change the turns, or give template=plain"
            ) from error

    def _answered(self, opened: str, messages: list[dict[str, str]], text: str) -> str:
        """What the template makes of an answer, behind its opening."""
        whole = self._render([*messages, {"role": "assistant", "content": text}])
        if not whole.startswith(opened):
            raise ConfigError(
                f"the chat template of base '{self.base.name}' writes an answer differently when it is opened and when "
                "it is complete, so its tokens cannot be told apart; give template=plain"
            )
        return whole.removeprefix(opened)

    def _opened(self, messages: list[dict[str, str]]) -> list[int]:
        """Tokens of a prompt: of all that the template writes, or piece by piece where a text names a control token."""
        whole = self._render(messages, open_answer=True)
        if not any(self._control.search(message["content"]) for message in messages):
            return self._tokens(whole)
        places = [{**message, "content": _PLACE.format(n)} for n, message in enumerate(messages)]
        literal, *pieces = re.split("\ue0a0(\\d+)\ue0a1", self._render(places, open_answer=True))
        ids, rest = self._tokens(literal), whole.removeprefix(literal)
        for number, literal in zip(pieces[::2], pieces[1::2], strict=True):
            text = messages[int(number)]["content"]
            own = next((own for own in (text, text.strip()) if rest.startswith(own + literal)), None)
            if own is None:
                raise self._rewritten()
            ids += [*self._tokens(own, markup=False), *self._tokens(literal)]
            rest = rest[len(own + literal) :]
        if rest:
            raise self._rewritten()
        return ids

    def _rewritten(self) -> ChoiceError:
        return ChoiceError(
            f"the chat template of base '{self.base.name}' rewrites a text that holds a control token, so the two "
            "cannot be told apart; leave that text out, or give template=plain"
        )

    @cached_property
    def _keeps_system(self) -> bool:
        """Whether a system turn comes through; a template that refuses it says so itself."""
        try:
            said = self._render([{"role": "system", "content": _PROBE}, {"role": "user", "content": "?"}])
        except ChoiceError:
            return True
        return _PROBE in said

    @cached_property
    def _turn_end(self) -> int | None:
        """The token with which the template ends an answer, if it writes one."""
        if not self.chat:
            return None
        question = [{"role": "user", "content": "?"}]
        written = self._render([*question, {"role": "assistant", "content": _PROBE}])
        control = self._control_ids
        return next((token for token in self._tokens(written.partition(_PROBE)[2]) if token in control), None)

    def _to_end(self, ids: list[int]) -> list[int]:
        """Up to the end of the turn; the tokenizer's, where the template writes none."""
        end = self._tokenizer.eos_token_id if self._turn_end is None else self._turn_end
        return ids[: ids.index(end) + 1] if end in ids else [*ids, end]

    # -- texts ---------------------------------------------------------------------------------------------------------

    @cached_property
    def _control_ids(self) -> dict[int, str]:
        """The tokens that are no text: special ones, and added ones that the template is written in."""
        tokenizer, template = self._tokenizer, str(self._tokenizer.chat_template) if self.chat else ""
        numbers = [*tokenizer.all_special_ids, *self.base.ends]
        found = dict(zip(numbers, tokenizer.convert_ids_to_tokens(numbers), strict=True))
        for number, token in tokenizer.added_tokens_decoder.items():
            if token.special or token.content in template:
                found[number] = token.content
        return {number: name for number, name in found.items() if name.strip()}

    @cached_property
    def _control(self) -> re.Pattern[str]:
        names = sorted(set(self._control_ids.values()), key=len, reverse=True)
        return re.compile("|".join(map(re.escape, names)) or r"(?!)")

    def _tokens(self, text: str, *, markup: bool = True) -> list[int]:
        """A template is written in control tokens; in a text, what looks like one is what a person wrote."""
        ids = self._encoded(text, split=not markup) if text else []
        if markup or not self._control_ids.keys() & set(ids):
            return ids
        # Added tokens that are not "special" are found in any text: each name is cut behind its first letter.
        cuts = [0, *(found.start() + 1 for found in self._control.finditer(text)), len(text)]
        parts = [self._encoded(text[a:b], split=True) for a, b in pairwise(cuts) if a < b]
        return [token for part in parts for token in part]

    def _encoded(self, text: str, *, split: bool) -> list[int]:
        return self._tokenizer(text, add_special_tokens=False, split_special_tokens=split, verbose=False)["input_ids"]


def _tokens_before_text(tokenizer: Any) -> list[int]:
    """What the tokenizer puts before a text, such as a beginning-of-text token."""
    bare, framed = (tokenizer("a", add_special_tokens=special)["input_ids"] for special in (False, True))
    return framed[: max(0, framed.index(bare[0]))] if bare and bare[0] in framed else []


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:37]}...")
