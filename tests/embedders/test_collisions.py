import numpy as np
import pytest

from tacit.embedders import CollisionCheck, HashEmbedder, ItemStore
from tacit.errors import EmbeddingError


class Blunt:
    """Sees the first 8 letters of a response only, as an encoder whose window is filled by the prompt."""

    name, dim, fingerprint, spec = "blunt", 64, "blunt", {"name": "blunt"}

    def embed(self, items):
        return HashEmbedder(64).embed([(prompt, response[:8]) for prompt, response in items])


def responses(distinct: int, colliding: int) -> list[tuple[str, str]]:
    """One prompt; `colliding` responses alike in their first 8 letters, the others not."""
    return [("p", f"{i:08d}") for i in range(distinct - colliding)] + [("p", f"alike 00{i}") for i in range(colliding)]


def test_up_to_one_percent_may_collide(tmp_path):
    store = ItemStore.open(tmp_path, Blunt())
    assert len(store.add(responses(200, 2), Blunt())) == 200


@pytest.mark.parametrize("chunk_items", [7, 50, 1000])
def test_more_than_one_percent_stops_and_leaves_nothing(tmp_path, chunk_items):
    store = ItemStore.open(tmp_path, Blunt())
    kept = store.add([("before", "1"), ("before", "2")], Blunt())
    with pytest.raises(
        EmbeddingError, match=r"at least 3 of 200 distinct responses share a vector .*'alike 00"
    ) as caught:
        store.add(responses(200, 3), Blunt(), chunk_items=chunk_items)
    assert "\n" not in str(caught.value)
    for same in (store, ItemStore.open(tmp_path, Blunt())):
        assert len(same) == 2
        assert same.ids(responses(200, 3)).max() == -1
        assert kept.tolist() == [0, 1]


def test_vectors_already_stored_count(tmp_path):
    """Each call alone would pass, and the last one has nothing left to embed."""
    store, items = ItemStore.open(tmp_path, Blunt()), [("p", "alike 001"), ("p", "alike 002")]
    for item in items:
        store.add([item], Blunt())
    with pytest.raises(EmbeddingError, match="2 of 2 distinct responses"):
        store.add(items, Blunt())


def test_equal_vectors_of_different_prompts_do_not_collide():
    items = [(f"prompt {i}", response) for i in range(9) for response in ("yes", "no")]
    rows = np.array([[1.0], [2.0]] * 9, dtype=np.float16)
    check = CollisionCheck(items)
    check.see(items, rows)
    assert check.colliding == 0


def test_prompts_with_a_single_response_do_not_dilute_the_share():
    items = [("p", "a"), ("p", "b"), *((f"lone {i}", "x") for i in range(1000))]
    with pytest.raises(EmbeddingError, match="at least 2 of 2"):
        CollisionCheck(items).see(items, np.zeros((len(items), 4), dtype=np.float16))


def test_differences_below_float16_collide(tmp_path):
    class Faint(Blunt):
        def embed(self, items):
            return 1 + 1e-6 * np.arange(len(items), dtype=np.float32)[:, None] * np.ones(64, dtype=np.float32)

    with pytest.raises(EmbeddingError, match="at least 2 of 20"):
        ItemStore.open(tmp_path, Faint()).add(responses(20, 0), Faint())


def test_white_space_alone_is_no_collision_and_is_said(tmp_path, caplog):
    items = [("p", f"{i:08d}"[:8]) for i in range(20)] + [("p", "the same\nwords"), ("p", "the same  words")]
    store = ItemStore.open(tmp_path, Blunt())
    assert len(store.add(items, Blunt())) == 22
    assert "1 responses differ from another in white space only" in caplog.text
    assert r"'the same\nwords' and 'the same  words'" in caplog.text
