"""Which items are embedded, and what a failed embedding leaves; which groups a model has met."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tacit.choices import Choice, ChoiceTable
from tacit.embedders import HashEmbedder, ItemStore
from tacit.embedders.embedder import Item
from tacit.embedders.table import item_vectors, open_store
from tacit.errors import EmbeddingError
from tacit.rewards.seen import Seen
from tacit.workflows.assessment import known_groups


class Counting(HashEmbedder):
    """Remembers what it was asked to embed."""

    def __init__(self) -> None:
        super().__init__(64)
        self.asked: list[Item] = []

    def embed(self, items: Sequence[Item]) -> np.ndarray:
        self.asked += items
        return super().embed(items)


TABLE = ChoiceTable.from_choices(
    [Choice.pair("ann", "p", "a", "b"), Choice.pair("ann", "q", "a", "c"), Choice.pair("bob", "q", "d", "c")]
)


def test_only_items_in_use_are_embedded_and_keep_their_numbers() -> None:
    embedder = Counting()
    whole, part = item_vectors(TABLE, HashEmbedder(64)), item_vectors(TABLE.of_users([1]), embedder)
    assert sorted(embedder.asked) == [("q", "c"), ("q", "d")]
    used = [TABLE.item_texts().index(item) for item in embedder.asked]
    assert (part[used] == whole[used]).all()
    assert part.count_nonzero() == part[used].count_nonzero()


def test_a_failed_start_leaves_no_store_but_a_failed_continuation_does(tmp_path: Path) -> None:
    embedder, folder = HashEmbedder(64), tmp_path / "store"

    def fail() -> None:
        with open_store(folder, embedder) as store:
            assert len(store) == len(ItemStore.open(folder))
            raise EmbeddingError("no")

    with pytest.raises(EmbeddingError):
        fail()
    assert not folder.exists()
    with open_store(folder, embedder) as store:
        store.add([("p", "a")], embedder)
    with pytest.raises(EmbeddingError):
        fail()
    assert len(ItemStore.open(folder)) == 1


def test_a_group_is_known_by_its_prompt_or_by_its_items() -> None:
    """`q` was a group as a whole; of `p` only the item (p, a) was one, for users who saw nothing but `p`."""
    known = known_groups(Seen.of([], ["q", "p\x1fa"]), TABLE)
    prompts = dict(zip(TABLE.prompts.to_pylist(), known[: TABLE.n_prompts].tolist(), strict=True))
    items = dict(zip(TABLE.item_texts(), known[TABLE.n_prompts :].tolist(), strict=True))
    assert prompts == {"p": True, "q": True}
    assert items == {("p", "a"): True, ("p", "b"): False, ("q", "a"): True, ("q", "c"): True, ("q", "d"): True}
    assert not known_groups(Seen.of([], ["other"]), TABLE).any()
