"""Choices in our own form as a file that `read_choices` gives back the same."""

import json
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tacit.choices.conversation import Conversation
from tacit.choices.table import ChoiceTable
from tacit.errors import ConfigError
from tacit.files import write_bytes, write_text

__all__ = ["check_ending", "write_choices"]

_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
_TYPES = {
    "user_id": pa.string(), "chosen": pa.string(), "rejected": pa.string(), "ranking": pa.list_(pa.list_(pa.string())),
    "tie": pa.bool_(), "weight": pa.float32(), "timestamp": pa.float64(), "split": pa.string(),
    "chosen_vector": pa.list_(pa.float32()), "rejected_vector": pa.list_(pa.float32()),
}  # fmt: skip


def check_ending(path: str | PathLike[str]) -> None:
    """Refuse a file that is neither .parquet nor .jsonl, with a ConfigError."""
    if Path(path).suffix not in (".parquet", ".jsonl"):
        raise ConfigError(f"{path} ends in {Path(path).suffix!r}; expected .parquet or .jsonl")


def write_choices(table: ChoiceTable, path: str | PathLike[str]) -> None:
    """Write all choices of a table to .parquet or .jsonl, atomically.

    Prompts stand as messages wherever one is more than a lone question; pairs as chosen and rejected, everything else
    as a ranking of levels.

    Raises:
        ConfigError: another ending.
    """
    check_ending(path)
    plain = not any(prompt.startswith("\x1e") for prompt in table.prompts.to_pylist())
    rows = [_row(table, number, plain=plain) for number in range(len(table))]
    names = [
        name for name in ("user_id", "prompt", *list(_TYPES)[1:]) if any(row.get(name) is not None for row in rows)
    ]
    if Path(path).suffix == ".jsonl":
        kept = [{name: row[name] for name in names if row.get(name) is not None} for row in rows]
        write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept))
        return
    from pyarrow import parquet

    types = _TYPES | {"prompt": pa.string() if plain else _MESSAGES}
    columns = {name: pa.array([row.get(name) for row in rows], types[name]) for name in names}
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.table(columns), sink)
    write_bytes(path, sink.getvalue().to_pybytes())


def _row(table: ChoiceTable, number: int, *, plain: bool) -> dict[str, Any]:
    choice = table[number]
    prompt: Any = choice.prompt if plain else Conversation.from_key(choice.prompt).to_openai()
    row: dict[str, Any] = {"user_id": choice.user_id, "prompt": prompt}
    if len(choice.responses) == 2:
        row |= {"chosen": choice.responses[0], "rejected": choice.responses[1]}
        row["tie"] = True if choice.rank[1] == 0 else None
    else:
        levels: list[list[str]] = [[] for _ in range(choice.rank[-1] + 1)]
        for response, rank in zip(choice.responses, choice.rank, strict=True):
            levels[rank].append(response)
        row["ranking"] = levels
    row["weight"] = None if choice.weight == 1 else choice.weight
    row["timestamp"] = choice.timestamp
    if table.split is not None and table.split[number] >= 0:
        row["split"] = table.split_names[table.split[number]]
    if table.item_vectors is not None:
        chosen, rejected = (np.asarray(table.item_vectors[item]).tolist() for item in table.items[number][:2])
        row |= {"chosen_vector": chosen, "rejected_vector": rejected}
    return row
