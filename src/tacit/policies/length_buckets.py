"""Rows of like length together: how to cut one batch into forwards so that little is spent on padding."""

from collections.abc import Sequence

__all__ = ["length_groups"]

OVERHEAD = 64
"""What one more forward costs, in tokens."""


def length_groups(lengths: Sequence[int], overhead: int = OVERHEAD) -> list[list[int]]:
    """The division of rows into groups that costs least: sum over groups of rows x longest + overhead.

    Exact, by dynamic programming over rows in order of length: some best division cuts that order into runs.

    Returns:
        row numbers of each group, short rows first.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    best, cut = [0], [0]
    for end in range(1, len(order) + 1):
        longest = lengths[order[end - 1]]
        cost, start = min((best[start] + (end - start) * longest + overhead, start) for start in range(end))
        best.append(cost)
        cut.append(start)
    groups, end = [], len(order)
    while end:
        groups.append(order[cut[end] : end])
        end = cut[end]
    return groups[::-1]
