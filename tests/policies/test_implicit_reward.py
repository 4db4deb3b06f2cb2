"""What validation makes of margins: accuracy, the loss of choices, and the distance to a teacher's gaps."""

import math

import pytest
import torch

from tacit.policies.implicit_reward import ImplicitChoices, direction

# One k, three users of up to two pairs; the last has not k choices.
FOUND = ImplicitChoices(
    ks=(5,),
    margin=torch.tensor([[[2.0, -1.0], [0.0, 9.0], [4.0, 4.0]]]),
    real=torch.tensor([[True, True], [True, False], [True, True]]),
    has=torch.tensor([[True, True, False]]),
    z=torch.zeros(1, 3, 2),
)


def test_accuracy_is_of_real_pairs_and_a_margin_of_zero_counts_half() -> None:
    torch.testing.assert_close(
        FOUND.accuracy(), torch.tensor([[0.5, 0.5, math.nan]], dtype=torch.float64), equal_nan=True
    )


def test_loss_is_that_of_the_choices() -> None:
    first = (math.log1p(math.exp(-0.5 * 2)) + math.log1p(math.exp(0.5))) / 2
    assert FOUND.loss(0.5)[0, :2].tolist() == pytest.approx([first, math.log(2)])


def test_distance_is_hubers_to_the_gaps_of_real_pairs() -> None:
    gap = torch.tensor([[[1.5, 2.5], [-0.5, 100.0], [0.0, 0.0]]])
    # beta margin = 1, -0.5 and 0: off by 0.5 (square half: 0.125), by 3 (beyond 1: 3 - 0.5), and by 0.5.
    found = FOUND.distance(0.5, gap)
    assert found[0, :2].tolist() == pytest.approx([(0.125 + 2.5) / 2, 0.125])
    assert bool(found[0, 2].isnan())


def test_sides_lie_along_the_main_axis() -> None:
    z = torch.tensor([[3.0, 0.1], [2.0, -0.1], [-2.0, 0.1], [-3.0, -0.1]])
    side = direction(z)
    assert side[0] == side[1] != side[2] == side[3]
