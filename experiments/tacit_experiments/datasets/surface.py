"""What words alone say of a summary's faithfulness: how much of it stands in the article, and how long it copies."""

from itertools import pairwise

import numpy as np

__all__ = ["SURFACE", "surface"]

SURFACE = ("log_words", "bigrams_found", "words_found", "log_longest_copy", "repetition")
"""The numbers of `surface`, in order."""


def surface(article: str, summary: str) -> tuple[float, ...]:
    """Plain numbers of one summary, named by `SURFACE`; texts are lowered and cut at spaces.

    `bigrams_found` and `words_found` are shares of the summary's; `log_longest_copy` is log(1 + the longest run of
    words that also stands in the article); `repetition` is the share of bigrams that stood before in the summary.
    """
    source, words = article.lower().split(), summary.lower().split()
    pairs = list(pairwise(words))
    known_words, known_pairs = set(source), set(pairwise(source))
    return (
        float(np.log1p(len(words))),
        sum(pair in known_pairs for pair in pairs) / max(1, len(pairs)),
        sum(word in known_words for word in words) / max(1, len(words)),
        float(np.log1p(_longest_copy(source, words))),
        1 - len(set(pairs)) / max(1, len(pairs)),
    )


def _longest_copy(source: list[str], words: list[str]) -> int:
    """Length of the longest run of `words` that is a run of `source`."""
    text, longest = f" {' '.join(source)} ", 0
    for start in range(len(words)):
        while start + longest < len(words) and f" {' '.join(words[start : start + longest + 1])} " in text:
            longest += 1
    return longest
