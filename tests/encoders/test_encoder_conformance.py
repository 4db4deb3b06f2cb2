"""Every encoder of the package under the suite that outsiders inherit, and the encoder that learns nothing."""

import pytest
import torch

from tacit.encoders import AdditiveEncoder, AttentionEncoder, Encoder
from tacit.encoders.additive import AdditiveConfig
from tacit.encoders.attention import AttentionConfig
from tacit.encoders.null import NullEncoder
from tacit.testing import EncoderConformance, random_choices


class TestAdditiveVariational(EncoderConformance):
    def make(self, dim: int, latent: int) -> Encoder:
        return AdditiveEncoder(dim, latent)


class TestAdditiveDeterministic(EncoderConformance):
    def make(self, dim: int, latent: int) -> Encoder:
        return AdditiveEncoder(dim, latent, AdditiveConfig(hidden=(16, 8), variational=False))


class TestAttention(EncoderConformance):
    def make(self, dim: int, latent: int) -> Encoder:
        return AttentionEncoder(dim, latent, AttentionConfig(width=16))


def test_the_null_encoder_learns_nothing() -> None:
    encoder = NullEncoder()
    choices = random_choices(3, 5, 4)
    assert encoder.evidence(choices).shape == (3, 5, 0)
    for k in (0, 5):
        posterior = encoder(choices.first(k))
        assert posterior.mean.shape == (3, 0)
        assert posterior.scale is None
    assert not encoder.has_uncertainty
    assert list(encoder.parameters()) == []


class _Broken(EncoderConformance):
    """A faithful encoder with one fault put in, to see that the suite sees it."""

    def make(self, dim: int, latent: int) -> Encoder:
        return AdditiveEncoder(dim, latent)

    def __init__(self, fault: str) -> None:
        self.fault = fault

    def _encoder(self) -> Encoder:
        encoder = super()._encoder()
        evidence, posterior = encoder.evidence, encoder.posterior
        if self.fault == "deaf to order":
            encoder.evidence = lambda c: evidence(c) + evidence(c.with_vectors(c.vectors.flip(2)))  # type: ignore
        elif self.fault == "hears padding":
            encoder.posterior = lambda r, w: posterior(r, torch.ones_like(w))  # type: ignore
        elif self.fault == "positional":
            encoder.posterior = lambda r, w: posterior(r * torch.arange(1, r.shape[1] + 1)[:, None], w)  # type: ignore
        elif self.fault == "mixes users":
            encoder.posterior = lambda r, w: posterior(r - r.mean(0), w)  # type: ignore
        elif self.fault == "mean of choices":
            encoder.posterior = lambda r, w: posterior(r, w / w.sum(1, keepdim=True))  # type: ignore
        return encoder


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ("deaf to order", "test_winner_and_loser_are_told_apart"),
        ("hears padding", "test_padding_choices_change_nothing"),
        ("positional", "test_order_of_choices_is_irrelevant"),
        ("mixes users", "test_a_batch_is_its_users_one_by_one"),
        ("mean of choices", "test_no_choices_is_the_prior"),
        ("mean of choices", "test_doubt_shrinks_with_evidence"),
        ("mean of choices", "test_one_row_can_stand_for_a_sum"),
    ],
)
def test_the_suite_finds_faults(fault: str, check: str) -> None:
    getattr(_Broken("none"), check)()
    with pytest.raises(AssertionError):
        getattr(_Broken(fault), check)()
