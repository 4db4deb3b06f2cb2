"""The model card that travels with a saved reward model."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tacit.rewards.model import RewardModel

__all__ = ["model_card"]


def model_card(model: "RewardModel") -> str:
    """Markdown with hub metadata: what the model is, what it was trained on, how to use it."""
    config = model.network.config
    embedder = str(model.embedder.spec["name"]) if model.embedder else "vectors supplied with the data"
    doubt = "with uncertainty" if model.has_uncertainty else "deterministic"
    rows = "".join(
        f"| {key} | {value} |\n" for key, value in sorted(model.notes.items()) if isinstance(value, int | float | str)
    )
    pooled = not config.personal
    what = (
        f"One reward for everybody, the control of a model that follows the user: `{config.head.kind}` head,"
        if pooled
        else f"A reward that follows the user: `{config.encoder.kind}` encoder ({doubt}, latent size {config.latent}), "
        f"`{config.head.kind}` head,"
    )
    use = "" if pooled else " It infers a user from a handful of choices in one forward pass."
    kind = type(model)
    return f"""---
library_name: tacit
license: other
tags: [reward-model, preference-learning, personalization, tacit]
---

# {"Pooled" if pooled else "Few-shot personalised"} reward model

{what}
over item vectors of size {model.dim} ({embedder}).{use}

```python
from {kind.__module__} import {kind.__name__}

model = {kind.__name__}.load("this/folder")
```

Trained on {len(model.seen.users)} users and {len(model.seen.prompts)} prompts, kept as salted hashes only.

| note | value |
|---|---|
| temperature | {model.temperature:.4g} |
{rows}"""
