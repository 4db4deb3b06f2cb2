"""From a table of texts to the padded batch that models take."""

import torch
from torch import Tensor

from tacit.choices.table import ChoiceTable
from tacit.episodes.batch import ChoiceBatch

__all__ = ["choice_batch"]


def choice_batch(table: ChoiceTable, vectors: Tensor) -> ChoiceBatch:
    """All choices of all users of `table`, with keys and timestamps.

    Item vectors are Float[items dim] by table item number.

    Users are the batch's rows in the table's order; shorter users are padded with weight 0.
    """
    index = table.index()
    longest = int(index.counts.max()) if len(index) else 0
    slot = torch.arange(longest)
    real = slot < index.counts.unsqueeze(1)
    position = (index.offsets[:-1].unsqueeze(1) + slot).clamp(max=max(len(index) - 1, 0))
    keys = []
    for user in range(index.n_users):
        rows = index.row[index.offsets[user] : index.offsets[user + 1]].tolist()
        keys.append(tuple(table[row].key for row in rows))
    return ChoiceBatch(
        vectors[index.items[position]],
        index.rank[position],
        index.weight[position] * real,
        index.timestamp[position],
        tuple(keys),
    )
