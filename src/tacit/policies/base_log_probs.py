"""What the base makes of every response, worked out once."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from tacit.embedders.windows import token_budget_batches
from tacit.engines.transformers.dialogue import Dialogue
from tacit.engines.transformers.log_probs import response_log_probs
from tacit.files import write_bytes
from tacit.policies.pairs import Row

__all__ = ["reference_log_probs"]

_TOKENS_CPU, _TOKENS_ACCELERATOR = 2048, 16384
"""Padded tokens per batch."""


@torch.inference_mode()
def reference_log_probs(
    dialogue: Dialogue,
    rows: Sequence[Row | None],
    *,
    file: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Log-probability in nats of each row's response under the base, Float32[items]; 0 where there is no row.

    Args:
        dialogue: of a base that nothing steers at the moment.
        file: where they are kept for a later run over the same rows and base.
        progress: called with (done, total) rows.
    """
    base = dialogue.base
    known_by = [base.fingerprint, str(base.model.dtype), rows]
    key = hashlib.blake2b(json.dumps(known_by).encode(), digest_size=16).hexdigest()
    if file is not None and (known := _read(file, key)) is not None:
        return known
    present = [(number, row) for number, row in enumerate(rows) if row is not None]
    found = torch.zeros(len(rows))
    budget = _TOKENS_CPU if base.device.type == "cpu" else _TOKENS_ACCELERATOR
    done = 0
    for batch in token_budget_batches(np.array([len(row[0]) for _, row in present]), budget):
        chosen = [present[place] for place in batch]
        values = response_log_probs(base.model, dialogue.batch([row for _, row in chosen]).to(base.device))
        found[[number for number, _ in chosen]] = values.float().cpu()
        done += len(chosen)
        if progress:
            progress(done, len(present))
    if file is not None:
        write_bytes(file, save({key: found}))
    return found


def _read(file: Path, key: str) -> Tensor | None:
    try:
        return load_file(file).get(key)
    except (OSError, SafetensorError):  # absent, or cut by a kill
        return None
