"""Which users and prompts a model was trained on, as salted hashes: enough to report seen and unseen apart."""

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

__all__ = ["Seen"]


@dataclass(frozen=True)
class Seen:
    """Sorted Int64 hashes of training users and prompts under one salt, stored beside them.

    The salt spoils tables of hashes made beforehand; who holds the model can still test a name that they guess.
    """

    salt: str
    users: Tensor
    prompts: Tensor

    @classmethod
    def nothing(cls) -> "Seen":
        """A model trained on tensors has no names to remember."""
        return cls("", torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))

    @classmethod
    def of(cls, users: Iterable[str], prompts: Iterable[str], *, salt: str | None = None) -> "Seen":
        """Hash the names, under a random salt unless one is given."""
        salt = salt or secrets.token_hex(16)
        return cls(salt, _hashes(users, salt).sort().values, _hashes(prompts, salt).sort().values)

    def knows_users(self, users: Iterable[str]) -> Tensor:
        """Bool[users]."""
        return torch.isin(_hashes(users, self.salt), self.users)

    def knows_prompts(self, prompts: Iterable[str]) -> Tensor:
        """Bool[prompts]."""
        return torch.isin(_hashes(prompts, self.salt), self.prompts)


def _hashes(names: Iterable[str], salt: str) -> Tensor:
    key = salt.encode()
    digests = b"".join(hashlib.blake2b(name.encode(), digest_size=8, key=key).digest() for name in names)
    return torch.from_numpy(np.frombuffer(digests, dtype="<i8").astype(np.int64))
