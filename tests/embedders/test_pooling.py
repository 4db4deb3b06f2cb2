import pytest
import torch

from tacit.embedders.pooling import POOLING, first_pool, last_pool, mean_pool

STATES = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
REAL = [3, 2]


def padded(side: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The same real states, the second row one shorter, among padding of 100s."""
    states, mask = torch.full((2, 5, 4), 100.0), torch.zeros(2, 5, dtype=torch.int64)
    for row, length in enumerate(REAL):
        start = 0 if side == "right" else 5 - length
        states[row, start : start + length] = STATES[row, :length]
        mask[row, start : start + length] = 1
    return states, mask


@pytest.mark.parametrize("side", ["left", "right"])
def test_pooling_reads_real_tokens_only_whichever_side_is_padded(side):
    states, mask = padded(side)
    assert torch.equal(last_pool(states, mask), torch.stack([STATES[0, 2], STATES[1, 1]]))
    assert torch.equal(first_pool(states, mask), STATES[:, 0])
    torch.testing.assert_close(mean_pool(states, mask), torch.stack([STATES[0].mean(0), STATES[1, :2].mean(0)]))


def test_every_pooling_is_offered():
    assert set(POOLING) == {"mean", "last", "first"}
