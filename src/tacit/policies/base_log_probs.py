"""What the base makes of every response, worked out once."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from tacit.engines.transformers.engine import TransformersEngine
from tacit.files import write_bytes
from tacit.policies.pairs import Row

__all__ = ["reference_log_probs"]


def reference_log_probs(
    engine: TransformersEngine,
    rows: Sequence[Row | None],
    *,
    file: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Log-probability in nats of each row's response under the base, Float32[items]; 0 where there is no row.

    Args:
        file: where they are kept for a later run over the same rows and base.
        progress: called with (done, total) rows.
    """
    known_by = [engine.base.fingerprint, str(engine.base.model.dtype), rows]
    key = hashlib.blake2b(json.dumps(known_by).encode(), digest_size=16).hexdigest()
    if file is not None and (known := _read(file, key)) is not None:
        return known
    present = {number: row for number, row in enumerate(rows) if row is not None}
    found = torch.zeros(len(rows))
    found[list(present)] = engine.row_log_probs(list(present.values()), progress=progress)
    if file is not None:
        write_bytes(file, save({key: found}))
    return found


def _read(file: Path, key: str) -> Tensor | None:
    try:
        return load_file(file).get(key)
    except (OSError, SafetensorError):  # absent, or cut by a kill
        return None
