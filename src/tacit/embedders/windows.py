"""Fitting an item into a model's window without ever losing a response token.

The rule, for a prompt of P tokens, a response of R and a window with room for W:

    P + R <= W   one window: all of both.
    R <= W       one window: the prompt's last W - R tokens, then the response. The prompt is cut from the left.
    R > W        the response is read in n = ceil(R / W) windows of consecutive tokens; the n * W - R places left over
                 go to the prompt's last tokens, at the head of the first window. The item's vector is the mean of its
                 windows' vectors, each weighted by the response tokens it holds.
"""

from collections.abc import Sequence

import numpy as np

__all__ = ["combine_windows", "cut_windows", "token_budget_batches"]


def cut_windows(prompt: Sequence[int], response: Sequence[int], room: int) -> list[tuple[list[int], int]]:
    """The windows of one item as (token ids, weight), at most `room` ids each; weight = response tokens, at least 1."""
    n = max(1, -(-len(response) // room))
    kept = min(len(prompt), n * room - len(response))
    ids = [*prompt[len(prompt) - kept :], *response]
    starts = range(0, max(len(ids), 1), room)
    return [(ids[s : s + room], max(1, min(s + room, len(ids)) - max(s, kept))) for s in starts]


def combine_windows(pooled: np.ndarray, owner: np.ndarray, weight: np.ndarray, items: int) -> np.ndarray:
    """Weighted mean of each item's windows.

    Shapes: pooled Float32[windows dim], owner Int64[windows] non-decreasing and onto `0 .. items - 1`,
    weight Float32[windows] > 0; the result is Float32[items dim].
    """
    if len(pooled) == items:
        return pooled
    share = weight / np.bincount(owner, weights=weight, minlength=items)[owner]
    starts = np.searchsorted(owner, np.arange(items))
    return np.add.reduceat(pooled * share[:, None].astype(np.float32), starts, axis=0)


def token_budget_batches(lengths: np.ndarray, budget: int) -> list[np.ndarray]:
    """Rows sorted by length, longest first, cut so that rows x longest stays within `budget` padded tokens.

    A row longer than the budget is a batch of its own. Longest first: memory runs out at once or not at all.
    """
    order = np.argsort(-lengths, kind="stable")
    batches, start = [], 0
    while start < len(order):
        rows = max(1, budget // int(lengths[order[start]]))
        batches.append(order[start : start + rows])
        start += rows
    return batches
