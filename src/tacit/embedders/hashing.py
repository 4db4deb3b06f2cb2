"""The embedder without a model: hashed word and character n-grams plus a few surface features.

Feature hashing after Weinberger et al. (2009), "Feature Hashing for Large Scale Multitask Learning": every n-gram
adds sign * log(1 + count) to one of the buckets, and the whole is scaled to unit length. That scaling removes how
long and how loud a response is, which people's choices often turn on, so those are appended as plain numbers.
"""

import re
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from tacit.choices.conversation import prompt_text
from tacit.embedders.embedder import Item
from tacit.errors import EmbeddingError

__all__ = ["HashEmbedder"]

_VERSION = 1
_PROMPT_WEIGHT = 0.3  # enough to tell prompts apart, too little to drown what distinguishes the responses
_SURFACE = 8
_WORD = re.compile(r"\w+(?:'\w+)?")
_SENTENCE_END = re.compile(r"[.!?]+(?:\s|$)")
_CHARACTER_SALT, _WORD_SALT, _PROMPT_SALT = 1, 2, 16


class HashEmbedder:
    """Hashed n-grams (words 1-2, bytes 3-4) and eight surface features; needs numpy only."""

    name = "hash"

    def __init__(self, dim: int = 512) -> None:
        if dim < 64:
            raise EmbeddingError(f"the embedder 'hash' needs at least 64 dimensions, found {dim}")
        self.dim = dim
        self.fingerprint = f"hash-{_VERSION}-{dim}"
        self.spec: dict[str, Any] = {"name": self.name, "dim": dim}

    def embed(self, items: Sequence[Item]) -> np.ndarray:
        """Float32[items dim]: the response's buckets, of unit length, plus 0.3 of the prompt's; then its surface."""
        width = self.dim - _SURFACE
        prompts = {
            prompt: _buckets(prompt_text(prompt), width, _PROMPT_SALT) for prompt in {prompt for prompt, _ in items}
        }
        vectors = np.empty((len(items), self.dim), dtype=np.float32)
        for row, (prompt, response) in zip(vectors, items, strict=True):
            row[:width] = _buckets(response, width) + _PROMPT_WEIGHT * prompts[prompt]
            row[width:] = _surface(response)
        return vectors


def _buckets(text: str, width: int, salt: int = 0) -> np.ndarray:
    """Float64[width] of unit length (zero for an empty text)."""
    words = _WORD.findall(text.lower())
    raw = np.frombuffer(f" {' '.join(text.lower().split())} ".encode(), dtype=np.uint8).astype(np.uint64)
    named = np.array([zlib.crc32(word.encode()) for word in words], dtype=np.uint64)
    hashes = [_ngrams(raw, n, _CHARACTER_SALT + salt) for n in (3, 4)]
    hashes += [_ngrams(named, n, _WORD_SALT + salt) for n in (1, 2)]
    found, count = np.unique(np.concatenate(hashes), return_counts=True)
    sign = np.where(found >> np.uint64(63), 1.0, -1.0)
    total = np.bincount((found % np.uint64(width)).astype(np.int64), weights=sign * np.log1p(count), minlength=width)
    return total / max(float(np.linalg.norm(total)), 1e-12)


def _ngrams(codes: np.ndarray, n: int, salt: int) -> np.ndarray:
    """UInt64[positions]: a well mixed hash of every `n` consecutive codes; wraps around on purpose."""
    positions = max(len(codes) - n + 1, 0)
    value = np.full(positions, 8 * salt + n, dtype=np.uint64)
    for offset in range(n):
        value = value * np.uint64(0x100000001B3) + codes[offset : offset + positions]
    value ^= value >> np.uint64(30)  # the finaliser of splitmix64 (Steele, Lea & Flood 2014)
    value *= np.uint64(0xBF58476D1CE4E5B9)
    value ^= value >> np.uint64(27)
    value *= np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def _surface(text: str) -> np.ndarray:
    """Float64[8]: log words, log sentences, mean word length / 10, and ! ? , digits per word, capitals per letter."""
    words = _WORD.findall(text)
    n = max(len(words), 1)
    letters = max(sum(c.isalpha() for c in text), 1)
    return np.array([
        np.log1p(len(words)),
        np.log1p(len(_SENTENCE_END.findall(text))),
        sum(map(len, words)) / n / 10,
        text.count("!") / n,
        text.count("?") / n,
        text.count(",") / n,
        sum(c.isdigit() for c in text) / n,
        sum(c.isupper() for c in text) / letters,
    ])  # fmt: skip
