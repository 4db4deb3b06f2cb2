"""Stopping an embedding that cannot tell responses apart; those that differ in white space only are let pass.

An encoder that truncates, or whose values vanish in float16, gives different responses the same vector, and whatever
is trained on them learns nothing without saying so. Counted are distinct responses whose float16 vector equals, bit
for bit, that of another distinct response to the same prompt.
"""

from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

from tacit.embedders.embedder import Item
from tacit.errors import EmbeddingError

__all__ = ["MAX_COLLIDING_SHARE", "CollisionCheck", "difference"]

MAX_COLLIDING_SHARE = 0.01


class CollisionCheck:
    """Counts colliding responses as vectors come in; `see` raises once their share is certain to exceed 1 %.

    Attributes:
        spaced: pairs that share a vector and differ in white space only.

    Args:
        items: all distinct items that will be seen. The share is taken of those whose prompt has more than one.
    """

    def __init__(self, items: Sequence[Item]) -> None:
        self._responses = Counter(prompt for prompt, _ in items)
        self._total = sum(count for count in self._responses.values() if count > 1)
        self._first: dict[tuple[str, bytes], str] = {}
        self._shared: set[tuple[str, bytes]] = set()
        self.colliding = 0
        self.spaced: list[tuple[str, str]] = []

    def see(self, items: Sequence[Item], rows: np.ndarray) -> None:
        """Take in more of the distinct items with their vectors Float16[items dim]."""
        for (prompt, response), row in zip(items, rows, strict=True):
            if self._responses[prompt] == 1:
                continue
            key = (prompt, blake2b(row.tobytes(), digest_size=16).digest())
            other = self._first.setdefault(key, response)
            if other is not response and "".join(other.split()) == "".join(response.split()):
                self.spaced.append((other, response))  # the same words: one vector is no loss of what was said
            elif other is not response:
                self.colliding += 1 if key in self._shared else 2
                self._shared.add(key)
                if self.colliding > MAX_COLLIDING_SHARE * self._total:
                    raise EmbeddingError(
                        f"at least {self.colliding} of {self._total} distinct responses share a vector with another "
                        f"response to the same prompt (such as {difference(other, response)}), more than "
                        f"{MAX_COLLIDING_SHARE:.0%}; use an embedder that tells them apart, or merge such responses"
                    )


def difference(a: str, b: str) -> str:
    """Both texts around the first character in which they differ, as Python writes them."""
    at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    start = max(0, at - 12)
    shown = [f"{'...' if start else ''}{text[start : start + 36]}" for text in (a, b)]
    return f"{shown[0]!r} and {shown[1]!r}"
