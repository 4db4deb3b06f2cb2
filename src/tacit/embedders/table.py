"""Item ids of a whole table: the step from texts to what episodes address."""

from torch import Tensor

from tacit.choices.table import ChoiceTable
from tacit.embedders.embedder import Embedder, SuppliedVectors
from tacit.embedders.store import ItemStore, Progress
from tacit.errors import EmbeddingError

__all__ = ["embed_table"]


def embed_table(
    table: ChoiceTable, embedder: Embedder, store: ItemStore, *, progress: Progress | None = None
) -> Tensor:
    """Put every item of `table` into `store` and return Int64[items]: its id there, by the table's item number.

    With `SuppliedVectors` the table's own vectors are taken; any other embedder reads the texts.

    Raises:
        EmbeddingError: what `ItemStore.add` and `add_vectors` raise, or vectors asked of a table without any.
    """
    if not isinstance(embedder, SuppliedVectors):
        return store.add(table.item_texts(), embedder, progress=progress)
    if table.item_vectors is None:
        raise EmbeddingError(f"{table.source} carries no vectors; choose another embedder than 'vectors'")
    return store.add_vectors(table.item_texts(), table.item_vectors)
