"""One choice: a user compared some responses to a prompt and ranked them."""

import hashlib
import struct
from dataclasses import dataclass

__all__ = ["Choice", "item_key"]


def item_key(prompt: str, response: str) -> bytes:
    """Content hash (16 bytes) of one item; the address of an item wherever texts are stored."""
    digest = hashlib.blake2b(digest_size=16)
    for text in (prompt, response):
        raw = text.encode("utf-8")
        digest.update(struct.pack("<q", len(raw)))
        digest.update(raw)
    return digest.digest()


@dataclass(frozen=True, slots=True)
class Choice:
    """A user's ranking of two or more responses to one prompt.

    Attributes:
        responses: the texts, best first.
        rank: one rank per response, 0 = best; equal ranks are a tie. A plain pair is `(0, 1)`.
        weight: how much the choice counts in the likelihood and as evidence, > 0.
        timestamp: seconds since the epoch, or None.
    """

    user_id: str
    prompt: str
    responses: tuple[str, ...]
    rank: tuple[int, ...]
    weight: float = 1.0
    timestamp: float | None = None

    @classmethod
    def pair(cls, user_id: str, prompt: str, chosen: str, rejected: str, *, tie: bool = False) -> "Choice":
        """The common case: `chosen` was preferred to `rejected` (or judged equal to it)."""
        return cls(user_id, prompt, (chosen, rejected), (0, 0) if tie else (0, 1))

    @property
    def key(self) -> str:
        """Stable 16-hex-digit name of this choice: same texts, ranks and time, same key."""
        digest = hashlib.blake2b(digest_size=8)
        for rank, response in sorted(zip(self.rank, self.responses, strict=True)):
            digest.update(struct.pack("<q", rank))
            digest.update(item_key(self.prompt, response))
        digest.update(repr(self.timestamp).encode())
        return digest.hexdigest()
