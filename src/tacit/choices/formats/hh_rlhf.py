"""hh-rlhf: two whole transcripts as text, `Human: ...` and `Assistant: ...` by turns (Bai et al., arXiv 2204.05862)."""

import re
from collections.abc import Iterable

from tacit.choices.formats.log_format import LogFormat, Row, formats
from tacit.errors import ChoiceError

__all__ = ["HHTranscripts"]

_TURN = re.compile(r"(?:\A\s*|(?:\r?\n){2})(Human|Assistant|System): ?")
_ROLES = {"Human": "user", "Assistant": "assistant", "System": "system"}


@formats.register("hh-rlhf")
class HHTranscripts(LogFormat):
    """What both transcripts begin with is the prompt."""

    about = "hh-rlhf transcripts"
    needs = ("chosen", "rejected")
    reads = ("user_id", "weight", "timestamp", "split")

    @classmethod
    def looks_right(cls, row: Row) -> bool:
        """Both are texts of several turns."""
        sides = (row.get("chosen"), row.get("rejected"))
        return all(isinstance(side, str) and len(_TURN.findall(side)) > 1 for side in sides)

    def rows(self, row: Row) -> Iterable[Row]:
        """One pair of conversations."""
        yield {**row, "chosen": _turns(row["chosen"], "chosen"), "rejected": _turns(row["rejected"], "rejected")}


def _turns(transcript: object, name: str) -> list[dict[str, str]]:
    if not isinstance(transcript, str):
        raise ChoiceError(f"{name} is missing" if transcript is None else f"{name} is no transcript")
    parts = _TURN.split(transcript)
    if parts[0].strip() or len(parts) < 3:
        raise ChoiceError(f"{name} is no transcript: it does not begin with 'Human:' or 'Assistant:'")
    said = zip(parts[1::2], parts[2::2], strict=True)
    return [{"role": _ROLES[who], "content": text.strip()} for who, text in said if text.strip()]
