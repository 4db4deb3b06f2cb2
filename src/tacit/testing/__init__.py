"""Conformance suites: inherit one, say how to make your part, and pytest checks the contract.

```python
from tacit.testing import EncoderConformance

class TestMyEncoder(EncoderConformance):
    def make(self, dim, latent):
        return MyEncoder(dim, latent)
```

The suites hold plain `test_*` methods and need pytest only to be run.
"""

from tacit.testing.encoders import EncoderConformance
from tacit.testing.heads import HeadConformance
from tacit.testing.models import PreferenceModelConformance
from tacit.testing.modulators import ModulatorConformance
from tacit.testing.samples import random_choices
from tacit.testing.storage import SavedModelConformance

__all__ = [
    "EncoderConformance",
    "HeadConformance",
    "ModulatorConformance",
    "PreferenceModelConformance",
    "SavedModelConformance",
    "random_choices",
]
