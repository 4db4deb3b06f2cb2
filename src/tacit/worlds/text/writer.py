"""From a prompt and a style to an answer in English."""

import math
import re
from collections.abc import Iterator, Sequence

import numpy as np

from tacit.worlds.text.style import JOKES, SENTENCES, Style
from tacit.worlds.text.topics import REGISTERS, Prompt, load_devices

__all__ = ["contract", "write"]

CONTRACTIONS = {
    r"\bdo not\b": "don't",
    r"\bDo not\b": "Don't",
    r"\bis not\b": "isn't",
    r"\b([Ii])t is\b": r"\1t's",
    r"\bI am\b": "I'm",
    r"\bI have\b": "I've",
    r"\bI will\b": "I'll",
    r"\bI would\b": "I'd",
    r"\b([Yy])ou are\b": r"\1ou're",
    r"\b([Yy])ou will\b": r"\1ou'll",
    r"\b([Tt])here is\b": r"\1here's",
    r"\b([Tt])hat is\b": r"\1hat's",
    r"\bwas not\b": "wasn't",
}
CONTRACT = [(re.compile(pattern), short) for pattern, short in CONTRACTIONS.items()]


def write(prompt: Prompt, style: Style, rng: np.random.Generator) -> str:
    """One answer to `prompt` in `style`; which statements, devices and paraphrases are used is drawn from `rng`."""
    devices = load_devices()
    registers = _registers(style.formality, rng)

    sentences: list[str] = []

    def add(wanted: bool, device: str) -> None:
        if wanted:
            sentences.append(_pick(devices[device][next(registers)], rng))

    tone, stance = "warm" if style.warmth > 0 else "cold", "hedge" if style.hedging > 0 else "claim"
    (greets, parts), (warns, doubts) = _ends(style.warmth, rng), _ends(style.hedging, rng)
    add(greets, f"{tone}_opener")
    add(warns, f"{stance}_opener")
    add(style.length == 1, "thorough")
    sentences += _body(prompt, style, registers, rng)
    add(abs(style.warmth) == 1, f"{tone}_aside")
    add(doubts, f"{stance}_closer")
    add(parts, f"{tone}_closer")
    text = " ".join(s[0].upper() + s[1:] for s in sentences)
    return contract(text) if style.formality < 0 else text


def contract(text: str) -> str:
    """The text with its contractions: "it is" becomes "it's"."""
    for pattern, short in CONTRACT:
        text = pattern.sub(short, text)
    return text


def _body(prompt: Prompt, style: Style, registers: Iterator[str], rng: np.random.Generator) -> list[str]:
    """Statements in their order, some behind a connective and a hedge or claim, jokes after some of them."""
    devices = load_devices()
    count = SENTENCES[style.length]
    chosen = np.sort(rng.choice(len(prompt.statements["neutral"]), count, replace=False))
    marked = set(rng.choice(count, math.ceil(0.6 * abs(style.hedging) * count), replace=False).tolist())
    joked = np.sort(rng.integers(count, size=JOKES[style.humour]))
    stance = devices["hedge" if style.hedging > 0 else "claim"]
    used: set[str] = set()

    def fresh(options: Sequence[str]) -> str:
        phrase = _pick([o for o in options if o not in used], rng)
        used.add(phrase)
        return phrase

    body: list[str] = []
    for place, point in enumerate(chosen):
        register = next(registers)
        prefix = fresh(stance[register]) if place in marked else ""
        links = devices["connective" if place else "brief" if style.length == -1 else "lead"][register]
        links = [link for link in links if link not in used]
        if links and not prefix.endswith(",") and rng.random() < 0.5:
            prefix = f"{fresh(links)} {prefix}".strip()
        body.append(f"{prefix} {prompt.statements[register][point]}.".lstrip())
        for number in np.flatnonzero(joked == place):
            register = next(registers)
            # Only the first joke may be on the topic: its jokes come in every register, and nobody tells one twice.
            on_topic = prompt.jokes[register] if number == 0 else ()
            body.append(fresh(on_topic + devices["joke"][register]))
            if number == len(joked) - 1:
                body.append(_pick(devices["joke_tag"][register], rng))
    return body


def _registers(formality: float, rng: np.random.Generator) -> Iterator[str]:
    """The register of each sentence in turn; half-way levels alternate between neutral and their side."""
    side = REGISTERS[1 + int(np.sign(formality))]
    turn = int(rng.integers(2))
    while True:
        yield side if abs(formality) == 1 or turn % 2 else "neutral"
        turn += 1


def _ends(level: float, rng: np.random.Generator) -> tuple[bool, bool]:
    """Whether opener and closer show a setting: both at full strength, one of them at half, none at zero."""
    if abs(level) == 0.5:
        opens = bool(rng.integers(2))
        return opens, not opens
    return level != 0, level != 0


def _pick(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]
