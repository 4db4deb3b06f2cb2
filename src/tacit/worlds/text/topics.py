"""What answers are about: prompts with their facts, in three registers.

A topic is one file of `topics/`: prompt patterns, a table of subjects, and the statements and jokes that hold for
each subject. `<field>` is filled from the subject, `{casual|neutral|formal}` by the register. Statements begin with
a small letter (names apart) so that a prefix can stand before them, and end without punctuation.
"""

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

__all__ = ["REGISTERS", "Prompt", "load_devices", "load_prompts"]

REGISTERS = ("casual", "neutral", "formal")

FIELD = re.compile(r"<(\w+)>")
WORDING = re.compile(r"\{([^{}|]*)\|([^{}|]*)\|([^{}|]*)\}")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question, and what there is to say about it: `statements[register]` in a sensible order, `jokes[register]`."""

    text: str
    topic: str
    statements: dict[str, tuple[str, ...]]
    jokes: dict[str, tuple[str, ...]]


@cache
def load_prompts() -> tuple[Prompt, ...]:
    """All prompts, topic by topic."""
    folder = resources.files("tacit.worlds.text") / "topics"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name)
    prompts: list[Prompt] = []
    for file in files:
        topic = tomllib.loads(file.read_text(encoding="utf-8"))
        for number, row in enumerate(topic["subjects"]):
            subject = dict(zip(topic["fields"], row, strict=True))
            prompts.append(
                Prompt(
                    text=_fill(topic["prompts"][number % len(topic["prompts"])], subject),
                    topic=file.name.removesuffix(".toml"),
                    statements=_in_every_register(topic["points"], subject),
                    jokes=_in_every_register(topic["jokes"], subject),
                )
            )
    return tuple(prompts)


@cache
def load_devices() -> dict[str, dict[str, tuple[str, ...]]]:
    """Openers, closers, hedges, claims, connectives and jokes that fit any topic: `[device][register]`."""
    text = (resources.files("tacit.worlds.text") / "devices.toml").read_text(encoding="utf-8")
    return {
        device: {register: tuple(wordings.get(register, ())) for register in REGISTERS}
        for device, wordings in tomllib.loads(text).items()
    }


def _in_every_register(templates: list[str], subject: dict[str, str]) -> dict[str, tuple[str, ...]]:
    return {
        register: tuple(_fill(WORDING.sub(lambda m, g=group: m[g], t), subject) for t in templates)
        for group, register in enumerate(REGISTERS, start=1)
    }


def _fill(template: str, subject: dict[str, str]) -> str:
    return FIELD.sub(lambda m: subject[m[1]], template)
