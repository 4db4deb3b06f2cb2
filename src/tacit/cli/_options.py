"""Options that several verbs share, as annotated types."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Out", "Seed", "SeedOverride"]

# The range every generator takes (torch, numpy, scikit-learn).
_SEED = typer.Option("--seed", min=0, max=2**32 - 1, help="One seed for everything random.")

Seed = Annotated[int, _SEED]
"""`seed: Seed = 0`"""

SeedOverride = Annotated[int | None, _SEED]
"""`seed: SeedOverride = None`, for verbs whose configuration holds the seed: the flag wins where it is given."""

Out = Annotated[Path, typer.Option("--out", metavar="DIR", file_okay=False, help="Folder for the results.")]
"""`out: Out`; check it with `prepare_out` before the work starts."""
