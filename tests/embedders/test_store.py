import json
import os

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tacit.choices import Choice, item_key
from tacit.choices.table import ChoiceTable
from tacit.embedders import HashEmbedder, ItemStore, SuppliedVectors, embed_table, resolve_embedder
from tacit.errors import EmbeddingError

HASH = HashEmbedder(64)
ITEMS = [(f"prompt {i % 4}", f"response number {i}") for i in range(20)]
PLACES = pytest.mark.parametrize("place", ["folder", "memory"])


class Counting(HashEmbedder):
    """Keeps what it was asked to embed."""

    def __init__(self):
        super().__init__(64)
        self.seen = []

    def embed(self, items):
        self.seen += items
        return super().embed(items)


def folder_of(place, tmp_path):
    return tmp_path / "store" if place == "folder" else None


@PLACES
def test_every_item_is_embedded_once_and_read_back(place, tmp_path):
    embedder = Counting()
    store = ItemStore.open(folder_of(place, tmp_path), embedder)
    ids = store.add(ITEMS + ITEMS[:5], embedder, chunk_items=6)
    assert ids.tolist() == [*range(20), *range(5)]
    more = store.add([("new", "item"), *ITEMS], embedder)
    assert more.tolist() == [20, *range(20)]
    assert embedder.seen == [*ITEMS, ("new", "item")]
    assert len(store) == 21
    expected = HASH.embed(ITEMS).astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(store[ids[:20]], expected)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.text("xyz", min_size=1, max_size=3)), max_size=30))
def test_ids_follow_items_whatever_the_order_and_repeats(items):
    store = ItemStore.open(None, HASH)
    half = store.add(items[: len(items) // 2], HASH, chunk_items=3)
    ids = store.add(items, HASH, chunk_items=4)
    assert ids[: len(half)].tolist() == half.tolist()
    assert len(store) == len(set(items))
    assert len(set(zip(ids.tolist(), items, strict=True))) == len(store)
    assert torch.equal(store.ids(items), ids)


def test_reopened_store_has_everything(tmp_path):
    ids = ItemStore.open(tmp_path, HASH).add(ITEMS, HASH)
    store = ItemStore.open(tmp_path)
    assert (len(store), store.dim, store.fingerprint, store.spec) == (20, 64, HASH.fingerprint, HASH.spec)
    assert torch.equal(store.ids(ITEMS), ids)
    assert torch.equal(store.ids([item_key(*item) for item in ITEMS]), ids)
    assert store.ids([("never", "seen")]).tolist() == [-1]
    assert resolve_embedder(**store.spec).fingerprint == store.fingerprint
    assert (tmp_path / "vectors.f16").stat().st_size == 20 * 64 * 2
    assert (tmp_path / "keys.bin").read_bytes() == b"".join(item_key(*item) for item in ITEMS)


@PLACES
def test_ids_of_any_shape_gather_vectors(place, tmp_path):
    store = ItemStore.open(folder_of(place, tmp_path), HASH)
    store.add(ITEMS, HASH)
    ids = torch.tensor([[[0, 3], [7, 7]]])
    vectors = store[ids]
    assert vectors.shape == (1, 2, 2, 64)
    assert vectors.dtype == torch.float32
    assert torch.equal(vectors[0, 1, 0], store[np.array([7])][0])
    assert store[torch.zeros(0, 2, dtype=torch.int64)].shape == (0, 2, 64)
    for wrong in (-1, 20):
        with pytest.raises(EmbeddingError, match="asked of a store of 20 items"):
            store[torch.tensor([0, wrong])]


def test_progress_counts_what_had_to_be_embedded():
    calls = []
    store = ItemStore.open(None, HASH)
    store.add(ITEMS[:4], HASH)
    store.add(ITEMS, HASH, progress=lambda done, total: calls.append((done, total)), chunk_items=6)
    assert calls == [(6, 16), (12, 16), (16, 16)]


def test_reading_needs_no_writing(tmp_path):
    ItemStore.open(tmp_path, HASH).add(ITEMS, HASH)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    store = ItemStore.open(tmp_path, HASH)
    with store._rows.writing():  # someone else is busy
        assert len(ItemStore.open(tmp_path, HASH).add(ITEMS, HASH)) == 20
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_two_writers_do_not_interleave(tmp_path):
    first, second = ItemStore.open(tmp_path, HASH), ItemStore.open(tmp_path, HASH)

    class Intruding(HashEmbedder):
        def embed(self, items):
            with pytest.raises(EmbeddingError, match="another writer has the item store"):
                second.add([("an", "intruder")], HASH)
            return super().embed(items)

    first.add(ITEMS, Intruding(64))
    assert second.add([("a", "latecomer"), ITEMS[3]], HASH).tolist() == [20, 3]
    assert first.add([("and", "another")], HASH).tolist() == [21]
    np.testing.assert_array_equal(first[np.array([20])], second[np.array([20])])


def test_rest_of_an_interrupted_append_is_ignored_and_cut_off(tmp_path):
    ItemStore.open(tmp_path, HASH).add(ITEMS[:8], HASH)
    for name in ("vectors.f16", "keys.bin"):
        with (tmp_path / name).open("ab") as file:
            file.write(b"\xff" * 1000)
    store = ItemStore.open(tmp_path, HASH)
    assert len(store) == 8
    ids = store.add(ITEMS, HASH)
    np.testing.assert_array_equal(store[ids], ItemStore.open(tmp_path)[ids])
    np.testing.assert_array_equal(store[ids], HASH.embed(ITEMS).astype(np.float16).astype(np.float32))
    assert (tmp_path / "keys.bin").stat().st_size == 20 * 16


def test_another_embedder_is_refused(tmp_path):
    store = ItemStore.open(tmp_path, HASH)
    for refused in (lambda: ItemStore.open(tmp_path, HashEmbedder(128)), lambda: store.add(ITEMS, HashEmbedder(128))):
        with pytest.raises(EmbeddingError, match=r"made by embedder 'hash' \(hash-1-64, 64 dim.*not by .*hash-1-128"):
            refused()


def test_no_store_without_an_embedder(tmp_path):
    with pytest.raises(EmbeddingError, match="no item store"):
        ItemStore.open(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_folder_of_other_things_is_not_taken(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(EmbeddingError, match="is no item store"):
        ItemStore.open(tmp_path, HASH)
    with pytest.raises(EmbeddingError, match="is no item store"):
        ItemStore.open(tmp_path / "thesis.tex", HASH)


def cut(name):
    return lambda folder: os.truncate(folder / name, (folder / name).stat().st_size - 1)


def change(**values):
    def apply(folder):
        header = json.loads((folder / "store.json").read_text())
        (folder / "store.json").write_text(json.dumps({**header, **values}))

    return apply


def repeat_key(folder):
    data = (folder / "keys.bin").read_bytes()
    (folder / "keys.bin").write_bytes(data[:16] + data[:-16])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut("vectors.f16"), "vectors.f16' is truncated: 2559 bytes where 20 items need 2560"),
        (cut("keys.bin"), "keys.bin' is truncated"),
        (lambda folder: (folder / "keys.bin").unlink(), "keys.bin' is truncated: 0 bytes"),
        (cut("store.json"), None),
        (lambda folder: (folder / "store.json").write_text('{"version": 1'), "damaged or of another version"),
        (lambda folder: (folder / "store.json").write_bytes(b"\xff\x00"), "damaged or of another version"),
        (change(version=2), "damaged or of another version"),
        (change(extra=1), "damaged or of another version"),
        (change(count=-1), "damaged or of another version"),
        (change(dim=128), "is truncated"),
        (change(count=21), "is truncated"),
        (repeat_key, "keys are damaged"),
    ],
)
def test_damaged_stores_are_refused_in_one_line(tmp_path, damage, message):
    ItemStore.open(tmp_path, HASH).add(ITEMS, HASH)
    damage(tmp_path)
    if message is None:  # only the final newline is gone
        assert len(ItemStore.open(tmp_path)) == 20
        return
    with pytest.raises(EmbeddingError, match=message) as caught:
        ItemStore.open(tmp_path)
    assert "\n" not in str(caught.value)


def test_damaged_values_are_found_when_read(tmp_path):
    ItemStore.open(tmp_path, HASH).add(ITEMS, HASH)
    with (tmp_path / "vectors.f16").open("r+b") as file:
        file.seek(3 * 64 * 2)
        file.write(np.array([np.inf, -np.inf], dtype="<f2").tobytes())
    store = ItemStore.open(tmp_path)
    assert store[torch.tensor([2, 4])].isfinite().all()
    with pytest.raises(EmbeddingError, match="damaged"):
        store[torch.tensor([2, 3])]


@pytest.mark.parametrize(
    ("value", "message"), [(np.nan, "NaN or infinite"), (np.inf, "NaN"), (7e4, "overflows float16")]
)
def test_values_that_float16_cannot_hold_stop_before_they_are_stored(tmp_path, value, message):
    class Bad(HashEmbedder):
        def embed(self, items):
            vectors = super().embed(items)
            vectors[-1, 5] = value
            return vectors

    store = ItemStore.open(tmp_path, HASH)
    with pytest.raises(EmbeddingError, match=f"response number 3'.* {message}"):
        store.add(ITEMS[:4], Bad(64))
    assert len(ItemStore.open(tmp_path)) == 0


@PLACES
def test_supplied_vectors_are_stored(place, tmp_path):
    vectors = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    store = ItemStore.from_vectors(folder_of(place, tmp_path), ITEMS, vectors)
    ids = store.ids(ITEMS)
    np.testing.assert_allclose(store[ids], vectors, rtol=0 if place == "memory" else 1e-3)
    again = store.add_vectors(ITEMS[::-1], torch.from_numpy(vectors[::-1].copy()))
    assert again.tolist() == list(range(19, -1, -1))
    with pytest.raises(EmbeddingError, match=r"item 2 .* already has another vector"):
        store.add_vectors(ITEMS[:4], vectors[[0, 1, 3, 3]])
    with pytest.raises(EmbeddingError, match=r"item 1 .* already has another"):
        store.add_vectors([("new", "x"), ("new", "x")], np.eye(2, 3, dtype=np.float32))
    with pytest.raises(EmbeddingError, match=r"shape \(2, 4\); expected \[2 items, 3\]"):
        store.add_vectors(ITEMS[:2], np.zeros((2, 4)))
    with pytest.raises(EmbeddingError, match="NaN or infinite"):
        store.add_vectors([("other", "x")], np.full((1, 3), np.nan))
    with pytest.raises(EmbeddingError, match=r"\[items, dim\]"):
        ItemStore.from_vectors(None, ITEMS, np.zeros(20))


def test_in_memory_vectors_are_not_copied():
    vectors = np.random.default_rng(0).random((1000, 8), dtype=np.float32)
    keys = [i.to_bytes(16, "little") for i in range(1000)]
    store = ItemStore.from_vectors(None, keys, vectors)
    assert store._rows.vectors is vectors
    assert store.ids(keys[5:7]).tolist() == [5, 6]
    with pytest.raises(EmbeddingError, match="16 bytes"):
        store.ids([b"short"])


def test_an_embedders_store_takes_no_supplied_vectors():
    store = ItemStore.open(None, HASH)
    with pytest.raises(EmbeddingError, match="made by embedder 'hash'"):
        store.add_vectors(ITEMS, np.zeros((20, 64)))
    with pytest.raises(EmbeddingError, match="needs an embedder"):
        ItemStore.open(None)


def test_table_items_get_ids():
    choices = [Choice.pair("u", "p", "a", "b"), Choice.pair("v", "p", "b", "c"), Choice.pair("v", "q", "a", "c")]
    table = ChoiceTable.from_choices(choices)
    store = ItemStore.open(None, HASH)
    store.add([("p", "c"), ("elsewhere", "x")], HASH)
    ids = embed_table(table, HASH, store)
    texts = table.item_texts()
    assert torch.equal(store.ids(texts), ids)
    assert len(store) == len(texts) + 1
    supplied = SuppliedVectors(2)
    with pytest.raises(EmbeddingError, match="carries no vectors"):
        embed_table(table, supplied, ItemStore.open(None, supplied))


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(EmbeddingError, match="cannot write to the item store") as caught:
        ItemStore.open(tmp_path / "file" / "store", HASH)
    assert "\n" not in str(caught.value)
