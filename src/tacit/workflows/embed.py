"""Every item of a table embedded once into a store on disk: what `tacit embed` does."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tacit.choices.table import ChoiceTable
from tacit.embedders import Embedder, embed_table
from tacit.embedders.embedder import Item
from tacit.embedders.table import open_store
from tacit.embedders.transformer import TransformerEmbedder
from tacit.events import Progress

__all__ = ["Embedded", "embed_items"]

_CHUNK = 1024


@dataclass(frozen=True)
class Embedded:
    """What an embedding did.

    Attributes:
        items: distinct (prompt, response) of the data.
        new: of them, those that the store did not hold before.
        stored: items that the store holds now, of this and other data.
        cut_prompts: new items that fill one window, their prompt cut from the left.
        windowed: new items whose response is longer than one window and was read in several; nothing of it is lost.
        seconds: for all of it.
    """

    items: int
    new: int
    stored: int
    cut_prompts: int
    windowed: int
    seconds: float


def embed_items(table: ChoiceTable, embedder: Embedder, store: Path, *, progress: Progress | None = None) -> Embedded:
    """Embed what `store` lacks of the table's items; killed, it goes on where it stood. A failed start leaves nothing.

    Raises:
        EmbeddingError: what `ItemStore` refuses: another embedder's store, colliding responses, NaN, overflow.
    """
    started = time.perf_counter()
    texts = table.item_texts()
    with open_store(store, embedder) as items:
        missing = np.flatnonzero(items.ids(texts).numpy() < 0)
        embed_table(table, embedder, items, progress=progress)
    cut, windowed = _long_items([texts[i] for i in missing], embedder)
    return Embedded(len(texts), len(missing), len(items), cut, windowed, time.perf_counter() - started)


def _long_items(items: list[Item], embedder: Embedder) -> tuple[int, int]:
    """How many items fill exactly one window, and how many need several; embedders without windows have neither."""
    if not isinstance(embedder, TransformerEmbedder):
        return 0, 0
    cut = windowed = 0
    for start in range(0, len(items), _CHUNK):
        windows, owner, _ = embedder.windows(items[start : start + _CHUNK])
        several = np.bincount(owner) > 1
        full = np.array([len(window) == embedder.window for window in windows])
        windowed += int(several.sum())
        cut += int((full & ~several[owner]).sum())
    return cut, windowed
