"""Profiles on disk: one user as JSON, many as one Parquet file; both versioned, atomic and strict.

Whose profile a file holds is told without torch.
"""

import json
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tacit.errors import ChoiceError, ModelFormatError
from tacit.files import write_bytes, write_text

if TYPE_CHECKING:
    from tacit.encoders.state import UserStates

__all__ = ["find_profile", "read_profile", "read_profiles", "write_profile", "write_profiles"]

_AGAIN = "make it again with `tacit infer`"
_META = b"tacit.profiles"
_COLUMNS = {
    "user_id": pa.large_string(), "evidence": pa.list_(pa.float64()), "weight": pa.list_(pa.float64()),
    "clock": pa.float64(), "choices": pa.list_(pa.string()),
}  # fmt: skip


def find_profile(path: str | PathLike[str], user: str | None = None) -> str:
    """The id of the user whose profile is asked for; whether it is whole is for `read_profile` to say.

    Raises:
        ModelFormatError: the file holds no profiles.
        ChoiceError: several users and none named, or no such user.
    """
    if Path(path).suffix == ".parquet":
        table, _ = _table(path)
        return table["user_id"][_place(path, table, user)].as_py()
    return _raw(path, user)[0]


def write_profile(path: str | PathLike[str], user: str, state: "UserStates") -> None:
    """One user as a JSON file."""
    write_text(path, json.dumps({"user": user} | json.loads(state.to_json())) + "\n")


def read_profile(path: str | PathLike[str], user: str | None = None) -> "tuple[str, UserStates]":
    """(user id, state) of a JSON profile, or of one user of a Parquet file of profiles.

    Raises:
        ModelFormatError: no profile, truncated, altered or of a newer version.
        ChoiceError: several users and none named, or no such user.
    """
    from tacit.encoders.state import UserStates

    if Path(path).suffix == ".parquet":
        table, about = _table(path)
        number = _place(path, table, user)
        return table["user_id"][number].as_py(), _states(path, table.slice(number, 1), about)
    name, raw = _raw(path, user)
    try:
        return name, UserStates.from_json(json.dumps(raw))
    except ModelFormatError as error:
        raise ModelFormatError(f"{path}: {error}") from None


def write_profiles(path: str | PathLike[str], ids: Sequence[str], states: "UserStates") -> None:
    """Many users as one Parquet file, a row a user; `states` in the order of `ids`."""
    import torch
    from pyarrow import parquet

    from tacit.encoders.state import SCHEMA

    kept = [torch.ones_like(w, dtype=torch.bool) if states.additive else w > 0 for w in states.weight]
    rows = [own[mask].flatten().numpy() for own, mask in zip(states.rows, kept, strict=True)]
    weight = [own[mask].numpy() for own, mask in zip(states.weight, kept, strict=True)]
    clock = [None if np.isnan(value) else value for value in states.clock.tolist()]
    columns = dict(zip(_COLUMNS, (list(ids), rows, weight, clock, states.keys or [None] * len(ids)), strict=True))
    about = {
        "schema": SCHEMA, "encoder": states.fingerprint, "additive": states.additive, "half_life": states.half_life,
        "evidence": states.rows.shape[-1],
    }  # fmt: skip
    schema = pa.schema(list(_COLUMNS.items()), metadata={_META: json.dumps(about).encode()})
    arrays = [pa.array(columns[name], kind) for name, kind in _COLUMNS.items()]
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.Table.from_arrays(arrays, schema=schema), sink)
    write_bytes(path, sink.getvalue().to_pybytes())


def read_profiles(path: str | PathLike[str]) -> "tuple[list[str], UserStates]":
    """(ids, states) of a file of `write_profiles`.

    Raises:
        ModelFormatError: not such a file, damaged, or of a newer version.
    """
    table, about = _table(path)
    return table["user_id"].to_pylist(), _states(path, table, about)


def _raw(path: str | PathLike[str], user: str | None) -> tuple[str, dict[str, Any]]:
    """(user id, the rest) of a JSON profile."""
    try:
        raw = json.loads(Path(path).read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        raise ModelFormatError(f"{path}: not a text file, so no profile; {_AGAIN}") from None
    except (ValueError, RecursionError) as error:
        raise ModelFormatError(f"{path}: the profile is not complete JSON ({error}); {_AGAIN}") from None
    if not isinstance(raw, dict) or "encoder" not in raw:
        raise ModelFormatError(f"{path}: no profile, which would be a JSON object with 'encoder'; {_AGAIN}")
    name = raw.pop("user", "")
    if user is not None and user != name:
        raise ChoiceError(f"{path} is the profile of {name!r}, not of {user!r}; leave user out, or give their file")
    return name, raw


def _place(path: str | PathLike[str], table: pa.Table, user: str | None) -> int:
    """The row of the user who is meant."""
    ids = table["user_id"].to_pylist()
    if user is None and len(ids) != 1:
        shown = ", ".join(map(repr, ids[:5])) + (", ..." if len(ids) > 5 else "")
        raise ChoiceError(f"{path} holds {len(ids)} users ({shown}); name one with user='ID'")
    if user is not None and user not in ids:
        raise ChoiceError(f"{path} has no user {user!r} among its {len(ids)}")
    return 0 if user is None else ids.index(user)


def _table(path: str | PathLike[str]) -> tuple[pa.Table, dict[str, Any]]:
    from pyarrow import parquet

    try:
        table = parquet.read_table(path)
        about = json.loads((table.schema.metadata or {})[_META])
    except OSError as error:
        if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError):
            raise
        raise ModelFormatError(f"{path}: no readable file of profiles; {_AGAIN}") from None
    except (pa.ArrowException, KeyError, ValueError):
        raise ModelFormatError(f"{path}: no readable file of profiles; {_AGAIN}") from None
    if table.schema.names != list(_COLUMNS):
        raise ModelFormatError(f"{path}: the file of profiles has missing or unknown columns; {_AGAIN}")
    return table, about


def _states(path: str | PathLike[str], table: pa.Table, about: dict[str, Any]) -> "UserStates":
    import torch

    from tacit.encoders.state import SCHEMA, UserStates

    if about.get("schema") != SCHEMA:
        raise ModelFormatError(f"{path}: profile schema {about.get('schema')!r} where this reads {SCHEMA}; {_AGAIN}")
    try:
        width = int(about["evidence"])
        flat = [np.asarray(each, np.float64) for each in table["evidence"].to_pylist()]
        weights = [np.asarray(each, np.float64) for each in table["weight"].to_pylist()]
        count = max((len(each) for each in weights), default=0)
        rows, weight = np.zeros((len(flat), count, width)), np.zeros((len(flat), count))
        for user, (row, own) in enumerate(zip(flat, weights, strict=True)):
            rows[user, : len(own)], weight[user, : len(own)] = row.reshape(len(own), width), own
        if not (np.isfinite(rows).all() and np.isfinite(weight).all() and (weight >= 0).all()):
            raise ValueError("numbers that no profile has")
        keys = table["choices"].to_pylist()
        clock = [float("nan") if value is None else value for value in table["clock"].to_pylist()]
        return UserStates(
            torch.from_numpy(rows), torch.from_numpy(weight), torch.tensor(clock, dtype=torch.float64),
            None if any(own is None for own in keys) else tuple(map(tuple, keys)), bool(about["additive"]),
            str(about["encoder"]), about["half_life"],
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFormatError(f"{path}: the profiles are damaged ({error}); {_AGAIN}") from None
