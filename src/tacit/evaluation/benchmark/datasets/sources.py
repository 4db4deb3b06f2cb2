"""Where datasets find their files and their item vectors."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from tacit.embedders import DEFAULT_EMBEDDER, Item, ItemStore, resolve_embedder
from tacit.errors import ConfigError
from tacit.files import locked

__all__ = ["Rows", "Sources"]


@dataclass(frozen=True)
class Rows:
    """How files of preferences are read: as the arguments of `read_choices` say."""

    skip_bad_rows: bool = False
    format: str | None = None
    columns: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Sources:
    """Files and vectors for datasets.

    Attributes:
        data: the folder that holds one folder per data set, what $TACIT_DATA names; None = there is none.
        cache: folder that keeps vectors between runs, shared by any number of processes; None = embed every time.
        rows: how files of preferences are read.
    """

    data: Path | None = None
    cache: Path | None = None
    rows: Rows = Rows()

    def folder(self, name: str) -> Path:
        """The folder of one data set.

        Raises:
            ConfigError: it is not there.
        """
        if self.data is None or not (self.data / name).is_dir():
            where = "no data folder is set" if self.data is None else f"'{self.data}' has no folder '{name}'"
            raise ConfigError(f"{where}; let $TACIT_DATA name the folder that holds '{name}'")
        return self.data / name

    def vectors(self, items: list[Item], embedder: str = DEFAULT_EMBEDDER) -> Tensor:
        """Float32[items dim] of (prompt, response) texts, embedded on the CPU; each distinct one once per cache.

        Processes that share a cache take turns: they mostly want the same texts, so the others find them done.

        Raises:
            EmbeddingError: the embedder is missing, or cannot tell the texts apart.
        """
        model = resolve_embedder(embedder, device="cpu")
        with ExitStack() as stack:
            folder = None
            if self.cache is not None:
                self.cache.mkdir(parents=True, exist_ok=True)
                folder = self.cache / f"{model.name}-{model.fingerprint}"
                stack.enter_context(locked(folder.with_suffix(".lock"), wait=True))
            store = ItemStore.open(folder, model)
            return store[store.add(items, model)]
