"""Our own form, which is TRL's preference format plus `user_id`, and UltraFeedback binarised read the same way."""

from collections.abc import Iterable, Iterator

from tacit.choices.formats.log_format import LogFormat, Row, formats
from tacit.choices.sources import RawRows
from tacit.choices.validation import COLUMNS

__all__ = ["OwnFormat", "UltraFeedbackBinarised"]


@formats.register("tacit")
class OwnFormat(LogFormat):
    """`user_id, prompt, chosen, rejected`, plain or conversational, or `ranking` in place of the last two."""

    about = "tacit's own form, TRL's preference format with user_id"
    needs = ()
    reads = COLUMNS

    @classmethod
    def looks_right(cls, row: Row) -> bool:
        """A pair or a ranking, with a prompt of its own or inside the answers' messages."""
        pair = row.get("chosen") is not None and row.get("rejected") is not None
        asked = row.get("prompt") is not None or isinstance(row.get("chosen"), list)
        return row.get("ranking") is not None or (pair and asked)

    def convert(self, chunks: Iterable[RawRows]) -> Iterator[RawRows]:
        """As it is: columns stay Arrow arrays."""
        yield from chunks


@formats.register("ultrafeedback-binarized")
class UltraFeedbackBinarised(OwnFormat):
    """Message lists that hold their prompt, with the scores they were chosen by, which are not read."""

    about = "UltraFeedback binarised"
    needs = ("chosen", "rejected", "score_chosen", "score_rejected")
