import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tacit.embedders import Embedder, HashEmbedder, resolve_embedder
from tacit.errors import EmbeddingError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)


@given(TEXT, TEXT)
def test_any_text_gives_finite_moderate_values(prompt, response):
    vector = HashEmbedder().embed([(prompt, response)])
    assert vector.shape == (1, 512)
    assert vector.dtype == np.float32
    assert np.abs(vector).max() < 100


def test_responses_that_differ_in_a_word_a_mark_or_their_order_differ():
    responses = ["Thanks a lot.", "Thanks a lot!", "Many thanks.", "a lot Thanks.", "Thanks a lot, friend."]
    vectors = HashEmbedder().embed([("p", response) for response in responses]).astype(np.float16)
    assert len(np.unique(vectors, axis=0)) == len(responses)


def test_similar_texts_are_nearer_than_unrelated_ones():
    base, near, far = HashEmbedder().embed([
        ("", "The train to the coast leaves at noon from platform four."),
        ("", "The train to the coast leaves at one from platform two."),
        ("", "Fold the egg whites gently into the batter and bake."),
    ])  # fmt: skip
    assert base[:504] @ near[:504] > base[:504] @ far[:504] + 0.3


def test_prompt_shifts_a_response_without_drowning_it():
    a, b, other = HashEmbedder().embed([("How?", "Like this."), ("Why?", "Like this."), ("How?", "No idea, sorry!")])
    assert 0 < np.linalg.norm(a - b) < np.linalg.norm(a - other)


def test_vectors_are_those_of_earlier_releases():
    """Stored vectors outlive a process: whoever changes them must raise the version in the fingerprint."""
    vector = HashEmbedder(64).embed([("p", "some text")])[0]
    assert np.flatnonzero(vector).tolist() == [1, 2, 7, 8, 13, 14, 28, 31, 32, 34, 40, 41, 42, 47, 48, 49, 54, 56, 58]
    np.testing.assert_allclose(vector[[1, 2, 28, 49, 56, 58]], [-0.224, 0.224, 0.447, -0.436, 1.099, 0.4], atol=1e-3)
    assert HashEmbedder(64).fingerprint == "hash-1-64"


def test_width_is_part_of_the_identity():
    small = resolve_embedder("hash", dim=64)
    assert isinstance(small, Embedder)
    assert small.dim == 64
    assert small.fingerprint != HashEmbedder().fingerprint
    assert resolve_embedder(**small.spec).fingerprint == small.fingerprint
    with pytest.raises(EmbeddingError, match="at least 64"):
        HashEmbedder(8)
