"""What every encoder must do, whatever is inside."""

from itertools import pairwise
from typing import Any

import torch
from torch.testing import assert_close

from tacit.encoders.encoder import Encoder
from tacit.encoders.posterior import LatentPosterior
from tacit.testing.samples import (
    every_gradient,
    keep_first,
    padded,
    random_choices,
    reordered,
    seeded_module,
    swapped,
)

__all__ = ["EncoderConformance"]

USERS, CHOICES = 4, 6
EXACT: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-9}


class EncoderConformance:
    """The contract of `tacit.encoders.Encoder`, checked in double precision on moved weights.

    Example:
        class TestMyEncoder(EncoderConformance):
            def make(self, dim, latent):
                return MyEncoder(dim, latent, hidden=(16,))

    Attributes:
        dim, latent: sizes asked of `make`.
        doubt_shrinks: whether an `additive` encoder with uncertainty promises ever narrower posteriors.
    """

    dim = 5
    latent = 3
    doubt_shrinks = True

    def make(self, dim: int, latent: int) -> Encoder:
        """A fresh encoder over item vectors of size `dim`. Override this."""
        raise NotImplementedError

    def _encoder(self) -> Encoder:
        return seeded_module(lambda: self.make(self.dim, self.latent))

    def test_shapes(self) -> None:
        """Evidence is [users choices evidence_dim], z is [users latent], a scale is positive."""
        encoder = self._encoder()
        choices = random_choices(USERS, CHOICES, self.dim)
        assert encoder.evidence(choices).shape == (USERS, CHOICES, encoder.evidence_dim)
        posterior = encoder(choices)
        assert posterior.mean.shape == (USERS, encoder.latent)
        assert encoder.latent == self.latent
        assert encoder.has_uncertainty == (posterior.scale is not None)
        if posterior.scale is not None:
            assert posterior.scale.shape == posterior.mean.shape
            assert bool((posterior.scale > 0).all()), "a standard deviation that is not positive"

    def test_order_of_choices_is_irrelevant(self) -> None:
        """A user is a set of choices."""
        encoder, choices = self._encoder(), random_choices(USERS, CHOICES, self.dim)
        _assert_same(encoder(choices), encoder(reordered(choices, [3, 0, 5, 1, 4, 2])))

    def test_padding_choices_change_nothing(self) -> None:
        """Weight 0 is absence, whatever the vectors are."""
        encoder, choices = self._encoder(), random_choices(USERS, CHOICES, self.dim)
        _assert_same(encoder(choices), encoder(padded(choices, extra_choices=3)))

    def test_padding_slots_change_nothing(self) -> None:
        """A pair in a batch wide enough for rankings is the same pair; so is a ranking."""
        encoder = self._encoder()
        for slots in (2, 3):
            choices = random_choices(USERS, CHOICES, self.dim, slots=slots)
            _assert_same(encoder(choices), encoder(padded(choices, extra_slots=2)))

    def test_no_choices_is_the_prior(self) -> None:
        """With k = 0 it is defined, the same for everybody, and the same by no rows as by padding alone."""
        encoder = self._encoder()
        rows = torch.zeros(USERS, 0, encoder.evidence_dim, dtype=torch.float64)
        prior = encoder.posterior(rows, rows.new_zeros(USERS, 0))
        assert bool(prior.mean.isfinite().all())
        assert_close(prior.mean, prior.mean[:1].expand(USERS, -1), **EXACT)
        choices = random_choices(USERS, CHOICES, self.dim)
        _assert_same(prior, encoder(choices.first(0)))
        _assert_same(prior, encoder(keep_first(choices, [0] * USERS)))
        assert _distance(prior, encoder(choices)) > 1e-3, "choices do not move the posterior off the prior"

    def test_winner_and_loser_are_told_apart(self) -> None:
        """evidence(w, l) != evidence(l, w)."""
        encoder, choices = self._encoder(), random_choices(USERS, 1, self.dim)
        change = (encoder.evidence(choices) - encoder.evidence(swapped(choices))).abs().amax(-1)
        assert bool((change > 1e-3).all()), "swapping winner and loser leaves the evidence as it was"
        assert _distance(encoder(choices), encoder(swapped(choices))) > 1e-4

    def test_tie_is_symmetric(self) -> None:
        """A tie says the same in both orders, and not what a win says; also inside a ranking."""
        encoder, choices = self._encoder(), random_choices(USERS, CHOICES, self.dim)
        tie = type(choices)(choices.vectors, torch.zeros_like(choices.rank), choices.weight)
        _assert_same(encoder(tie), encoder(swapped(tie)))
        assert _distance(encoder(tie), encoder(choices)) > 1e-4, "a tie counts as a win"
        ranking = random_choices(USERS, CHOICES, self.dim, slots=3)
        rank = torch.tensor([0, 1, 1]).expand_as(ranking.rank)
        tied_below = type(ranking)(ranking.vectors, rank, ranking.weight)
        _assert_same(encoder(tied_below), encoder(swapped(tied_below, 1, 2)))
        assert _distance(encoder(tied_below), encoder(swapped(tied_below, 0, 1))) > 1e-4

    def test_weight_two_is_the_choice_twice(self) -> None:
        """Weights count choices; a fraction of a choice is between none and one."""
        encoder, choices = self._encoder(), random_choices(USERS, CHOICES, self.dim)
        twice = reordered(choices, [0, 0, 1, 2, 2, 2, 3, 4, 5])
        weight = torch.tensor([2.0, 1, 3, 1, 1, 1], dtype=torch.float64).expand(USERS, CHOICES)
        _assert_same(encoder(twice), encoder(type(choices)(choices.vectors, choices.rank, weight)))
        rows, light = encoder.evidence(choices), encoder.evidence(keep_first(choices, [1] * USERS))
        assert_close(rows, light, **EXACT, msg="evidence applies the weights; leave that to the posterior")

    def test_every_user_has_a_k_of_their_own(self) -> None:
        """A user's posterior does not depend on how many choices the others bring."""
        encoder, choices = self._encoder(), random_choices(USERS, CHOICES, self.dim)
        counts = [0, 1, CHOICES, 3]
        mixed = encoder(keep_first(choices, counts))
        for user, count in enumerate(counts):
            alone = encoder(choices.of_users(torch.tensor([user])).first(count))
            _assert_same(alone, _rows(mixed, user))

    def test_a_batch_is_its_users_one_by_one(self) -> None:
        """No user sees another."""
        encoder, choices = self._encoder(), random_choices(USERS, CHOICES, self.dim, slots=3)
        together = encoder(choices)
        for user in range(USERS):
            _assert_same(encoder(choices.of_users(torch.tensor([user]))), _rows(together, user))

    def test_gradient_reaches_every_parameter(self) -> None:
        """No part of the network is dead once the weights have left their start."""
        encoder, choices = self._encoder(), random_choices(USERS, CHOICES, self.dim)
        posterior = encoder(choices)
        direction = torch.randn(self.latent, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        loss = (posterior.mean * direction).sum() + (0 if posterior.scale is None else posterior.scale.square().sum())
        moved = every_gradient(encoder, loss)
        assert all(moved.values()), f"no gradient reaches {[name for name, ok in moved.items() if not ok]}"

    def test_finite_far_beyond_the_trained_k(self) -> None:
        """200 choices, different or all the same, leave a bounded latent."""
        encoder, many = self._encoder(), random_choices(USERS, 200, self.dim)
        size = [_magnitude(encoder(choices)) for choices in (many.first(20), many, reordered(many, [0] * 200))]
        assert max(size) < 100 * (1 + size[0]), f"the posterior grows with k: {size}"

    def test_one_row_can_stand_for_a_sum(self) -> None:
        """An additive encoder needs the weighted sum of its rows only: user states rely on it."""
        encoder, choices = self._encoder(), random_choices(USERS, CHOICES, self.dim)
        if not encoder.additive:
            return
        rows = encoder.evidence(choices)
        total = rows.sum(1, keepdim=True)
        _assert_same(encoder.posterior(rows, choices.weight), encoder.posterior(total, total.new_ones(USERS, 1)))

    def test_doubt_shrinks_with_evidence(self) -> None:
        """In an additive encoder no choice makes any latent less certain."""
        encoder = self._encoder()
        if not (encoder.additive and encoder.has_uncertainty and self.doubt_shrinks):
            return
        first, more = random_choices(USERS, CHOICES, self.dim), random_choices(USERS, 40, self.dim, seed=1)
        scales = [encoder(c).scale for c in (first.first(0), first.first(1), first, first.join(more))]
        for before, after in pairwise(scales):
            assert before is not None
            assert after is not None
            assert bool((after <= before + 1e-12).all()), "a posterior that grew wider with evidence"
            assert after.mean() < before.mean(), "a posterior that more evidence leaves as wide as it was"


def _assert_same(first: LatentPosterior, second: LatentPosterior) -> None:
    assert_close(first.mean, second.mean, **EXACT)
    if first.scale is not None:
        assert_close(first.scale, second.scale, **EXACT)


def _rows(posterior: LatentPosterior, user: int) -> LatentPosterior:
    scale = None if posterior.scale is None else posterior.scale[user : user + 1]
    return LatentPosterior(posterior.mean[user : user + 1], scale)


def _distance(first: LatentPosterior, second: LatentPosterior) -> float:
    """The least change over users of the most changed latent."""
    return (first.mean - second.mean).abs().amax(-1).min().item()


def _magnitude(posterior: LatentPosterior) -> float:
    parts = [posterior.mean] if posterior.scale is None else [posterior.mean, posterior.scale]
    assert all(bool(part.isfinite().all()) for part in parts), "NaN or infinity"
    return max(part.abs().max().item() for part in parts)
