"""OpenAI's preference files: `input.messages`, `preferred_output`, `non_preferred_output`."""

from collections.abc import Iterable

from tacit.choices.formats.log_format import LogFormat, Row, formats
from tacit.errors import ChoiceError

__all__ = ["OpenAIPreferences"]


@formats.register("openai")
class OpenAIPreferences(LogFormat):
    """One pair a row; tools are not supported."""

    about = "OpenAI preference file"
    needs = ("input", "preferred_output", "non_preferred_output")
    reads = ("user_id", "weight", "timestamp", "split", "tie")

    def rows(self, row: Row) -> Iterable[Row]:
        """One pair."""
        asked = row["input"]
        if not isinstance(asked, dict) or not asked.get("messages"):
            raise ChoiceError("input holds no messages")
        if asked.get("tools"):
            raise ChoiceError("input has tools, which are not supported; leave such rows out")
        kept = {name: row.get(name) for name in self.reads}
        yield {
            **kept, "prompt": asked["messages"],
            "chosen": row["preferred_output"], "rejected": row["non_preferred_output"],
        }  # fmt: skip
