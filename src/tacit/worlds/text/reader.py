"""From an answer back to its style: which of the known sentences it is made of, and what they add up to.

The writer composes answers of sentences from a finite stock, so a reader that knows the stock can tell how an answer
is written without being told, also one that a language model wrote. What is not in the stock is malformed.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from tacit.worlds.text.style import Style
from tacit.worlds.text.topics import REGISTERS, Prompt, load_devices, load_prompts
from tacit.worlds.text.writer import contract

__all__ = ["Reading", "read_answer"]

_PREFIXES = ("hedge", "claim", "connective", "lead", "brief")
_SIDE: dict[str, float] = dict(zip(REGISTERS, (-1.0, 0.0, 1.0), strict=True))
_SPLIT = re.compile(r"(?<=[.!?]) (?=[A-Z])")


@dataclass
class Reading:
    """What an answer is made of.

    Attributes:
        found: how many sentences of each device there are, and of prefixes; `statement` and `joke` among them.
        sides: the register of every sentence that tells one: -1 casual, 0 neutral, 1 formal.
        malformed: sentences that are not in the stock, such as one about another subject.
        words: of the whole answer.
    """

    found: dict[str, int] = field(default_factory=dict)
    sides: list[float] = field(default_factory=list)
    malformed: int = 0
    words: int = 0

    def style(self) -> Style:
        """The settings that the writer was given, as well as sentences tell; length is left at 0, see `words`."""
        count = self.found.get

        def ends(kind: str) -> int:
            return count(f"{kind}_opener", 0) + count(f"{kind}_closer", 0)

        warmth = {side: ends(side) / 2 + 0.25 * count(f"{side}_aside", 0) for side in ("warm", "cold")}
        statements = max(1, count("statement", 0))
        certainty = {
            side: (ends(side) / 2 + min(1.0, count(side, 0) / (0.6 * statements))) / 2 for side in ("hedge", "claim")
        }
        return Style(
            warmth=_clip(warmth["warm"] - warmth["cold"]),
            hedging=_clip(certainty["hedge"] - certainty["claim"]),
            humour=min(2, count("joke", 0)) - 1.0,
            formality=_clip(float(np.mean(self.sides))) if self.sides else 0.0,
        )

    def attributes(self) -> tuple[float, ...]:
        """Log word count, warmth, hedging, humour and formality, as `TextWorld` measures its own answers."""
        style = self.style()
        return np.log(max(1, self.words)), style.warmth, style.hedging, style.humour, style.formality


def read_answer(prompt: str, text: str) -> Reading:
    """Read an answer to one of the world's prompts.

    Raises:
        KeyError: a prompt that is not of this world.
    """
    stock = _stock(prompt)
    reading = Reading(words=len(text.split()))
    pieces = _SPLIT.split(text.strip())
    place = 0
    while place < len(pieces):
        for width in range(min(3, len(pieces) - place), 0, -1):  # some sentences of the stock are several
            known = _known(stock, " ".join(pieces[place : place + width]))
            if known is not None:
                break
        else:
            reading.malformed += 1
            place += 1
            continue
        place += width
        for device, sides in known:
            reading.found[device] = reading.found.get(device, 0) + 1
            if len(sides) == 1:  # what is the same in several registers tells none
                reading.sides.append(next(iter(sides)))
    return reading


Stock = dict[str, tuple[str, frozenset[float]]]


def _known(stock: Stock, sentence: str) -> list[tuple[str, frozenset[float]]] | None:
    """The devices of one sentence: itself, or a statement behind up to two prefixes."""
    plain = _plain(sentence)
    if plain in stock:
        return [stock[plain]]
    body, devices = plain, []
    for _ in range(2):
        for prefix, (device, sides) in _prefixes():
            if body.startswith(prefix + " "):
                devices.append((device, sides))
                body = body[len(prefix) + 1 :]
                break
        else:
            return None
        if body in stock and stock[body][0] == "statement":
            return [*devices, stock[body]]
    return None


@lru_cache(maxsize=1024)
def _stock(prompt: str) -> Stock:
    """Whole sentences that may stand in an answer to a prompt, each with its device and registers."""
    subject = _prompts()[prompt]
    wordings: dict[str, dict[str, tuple[str, ...]]] = {
        "statement": {register: tuple(f"{s}." for s in said) for register, said in subject.statements.items()},
        "joke": subject.jokes,
    }
    entries = [("statement", wordings["statement"]), ("joke", wordings["joke"])]
    entries += [(device, said) for device, said in load_devices().items() if device not in _PREFIXES]
    return dict(_with_sides(entries))


@lru_cache(maxsize=1)
def _prefixes() -> tuple[tuple[str, tuple[str, frozenset[float]]], ...]:
    """Prefixes, the longest first."""
    found = dict(_with_sides([(device, load_devices()[device]) for device in _PREFIXES]))
    return tuple(sorted(found.items(), key=lambda entry: -len(entry[0])))


def _with_sides(
    entries: list[tuple[str, dict[str, tuple[str, ...]]]],
) -> Iterator[tuple[str, tuple[str, frozenset[float]]]]:
    sides: dict[str, set[float]] = {}
    devices: dict[str, str] = {}
    for device, wordings in entries:
        for register, phrases in wordings.items():
            for phrase in phrases:
                sides.setdefault(_plain(phrase), set()).add(_SIDE[register])
                devices.setdefault(_plain(phrase), device)
    for phrase, found in sides.items():
        yield phrase, (devices[phrase], frozenset(found))


@lru_cache(maxsize=1)
def _prompts() -> dict[str, Prompt]:
    return {prompt.text: prompt for prompt in load_prompts()}


@lru_cache(maxsize=1 << 16)
def _plain(text: str) -> str:
    """The same whatever is contracted or begins with a capital."""
    return contract(text[:1].upper() + text[1:]).lower()


def _clip(value: float) -> float:
    return max(-1.0, min(1.0, value))
