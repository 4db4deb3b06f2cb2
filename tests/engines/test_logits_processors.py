"""The next token: the nucleus is transformers' own, found without sorting, and draws follow the probabilities."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from transformers import TopPLogitsWarper

from tacit.engines.transformers.logits_processors import Draw, Nucleus
from tacit.errors import ConfigError

CPU = torch.device("cpu")
NO_IDS = torch.zeros(1, 1, dtype=torch.int64)


def logits(rows: int, vocabulary: int, *, steepness: float) -> Tensor:
    """Like a language model's: a token's probability falls as a power of its rank, another order in every row."""
    generator = torch.Generator().manual_seed(3)
    ranked = -steepness * torch.arange(1, vocabulary + 1).log()
    order = torch.stack([torch.randperm(vocabulary, generator=generator) for _ in range(rows)])
    return (ranked + torch.randn(rows, vocabulary, generator=generator))[torch.arange(rows)[:, None], order]


@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.9, 0.99])
@pytest.mark.parametrize(
    ("vocabulary", "steepness"), [(40, 1.0), (256, 0.5), (257, 0.5), (5000, 2.0), (5000, 1.0), (5000, 0.0)]
)
def test_the_nucleus_is_the_one_that_sorting_finds(vocabulary: int, steepness: float, top_p: float) -> None:
    """Whether it ends within the first tokens that are looked at or needs nearly all."""
    scores = logits(8, vocabulary, steepness=steepness)
    assert torch.equal(Nucleus(top_p)(NO_IDS, scores), TopPLogitsWarper(top_p)(NO_IDS, scores))


def test_one_flat_row_among_steep_ones_is_not_cut_short() -> None:
    scores = logits(4, 3000, steepness=3.0)
    scores[2] = torch.arange(3000) / 1e5
    kept = Nucleus(0.9)(NO_IDS, scores).isfinite().sum(1)
    assert kept[2] == pytest.approx(2700, abs=25)
    assert (kept[[0, 1, 3]] < 256).all()


@pytest.mark.parametrize(("vocabulary", "top_p", "kept"), [(10, 0.45, 5), (20_000, 0.05, 1000)])
def test_of_equally_likely_tokens_no_more_are_kept_than_needed(vocabulary: int, top_p: float, kept: int) -> None:
    """Also where a second look finds others among them."""
    assert Nucleus(top_p)(NO_IDS, torch.zeros(1, vocabulary)).isfinite().sum() == pytest.approx(kept, abs=1)


def test_draws_follow_the_logits_over_a_large_vocabulary() -> None:
    """Ten tokens far apart of 50 000; all others have next to no probability together."""
    scores = torch.full((1, 50_000), -40.0)
    places = torch.arange(10) * 5_000 + 7
    scores[0, places] = torch.linspace(0, 2, 10)
    draw = Draw(seed=0, device=CPU)
    found = torch.cat([draw(NO_IDS, scores.expand(100, -1)).argmax(1) for _ in range(100)])
    assert_close((found[:, None] == places).double().mean(0), scores[0, places].double().softmax(0), rtol=0, atol=0.02)


@pytest.mark.parametrize("number", [0.0, 1 - 2**-53])
def test_no_random_number_draws_what_is_left_out(number: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The least and the largest, with impossible tokens first and last."""
    scores = torch.tensor([-torch.inf, -torch.inf, 0.3, -torch.inf, 0.1, -torch.inf]).repeat(5, 1)
    monkeypatch.setattr(torch, "rand", lambda *shape, **_: torch.full(shape, number, dtype=torch.float64))
    assert Draw(seed=0, device=CPU)(NO_IDS, scores).argmax(1).tolist() == [4 if number == 0 else 2] * 5


def test_rows_are_drawn_apart_and_the_seed_fixes_them() -> None:
    scores = torch.zeros(64, 1000)
    draws = [Draw(seed, CPU)(NO_IDS, scores).argmax(1) for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert len(draws[0].unique()) > 50


def test_logits_that_are_no_numbers_are_an_error() -> None:
    scores = torch.zeros(3, 10)
    scores[1, 4] = torch.nan
    with pytest.raises(ConfigError, match="not finite") as caught:
        Draw(seed=0, device=CPU)(NO_IDS, Nucleus(0.9)(NO_IDS, scores))
    assert "\n" not in str(caught.value)
