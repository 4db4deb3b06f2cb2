"""What every reward head must do."""

from typing import Any

import torch
from torch import Tensor
from torch.testing import assert_close

from tacit.episodes.hashing import step_generator
from tacit.rewards.heads import RewardHead
from tacit.testing.samples import every_gradient, seeded_module

__all__ = ["HeadConformance"]

USERS, ITEMS = 3, 7
EXACT: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-9}


class HeadConformance:
    """The contract of `tacit.rewards.RewardHead`, checked in double precision on moved weights.

    Example:
        class TestMyHead(HeadConformance):
            def make(self, dim, latent):
                return MyHead(dim, latent)

    Attributes:
        dim, latent: sizes asked of `make`.
    """

    dim = 5
    latent = 3

    def make(self, dim: int, latent: int) -> RewardHead:
        """A fresh head over item vectors of size `dim` and latents of size `latent`. Override this."""
        raise NotImplementedError

    def _head(self) -> RewardHead:
        return seeded_module(lambda: self.make(self.dim, self.latent))

    def test_shapes_with_leading_samples(self) -> None:
        """Items may be shared or per user; z may bring any leading axes, each a computation of its own."""
        head, shared = self._head(), _normal(ITEMS, self.dim)
        each = _normal(USERS, ITEMS, self.dim, seed=1)
        for lead in ((), (4,), (2, 4)):
            z = _normal(*lead, USERS, self.latent, seed=2)
            for items in (shared, each):
                rewards = head(items, z)
                assert rewards.shape == (*lead, USERS, ITEMS)
                flat = z.reshape(-1, USERS, self.latent)
                alone = torch.stack([head(items, one) for one in flat]).reshape(rewards.shape)
                assert_close(rewards, alone, **EXACT)

    def test_shared_items_equal_items_per_user(self) -> None:
        """Sharing is a saving, not another function."""
        head, shared, z = self._head(), _normal(ITEMS, self.dim), _normal(USERS, self.latent, seed=2)
        assert_close(head(shared, z), head(shared.expand(USERS, ITEMS, self.dim), z), **EXACT)

    def test_items_and_users_do_not_mix(self) -> None:
        """One reward depends on one item and one user."""
        head, items = self._head(), _normal(USERS, ITEMS, self.dim)
        z = _normal(USERS, self.latent, seed=2)
        rewards = head(items, z)
        assert_close(head(items[:, [4, 1]], z), rewards[:, [4, 1]], **EXACT)
        assert_close(head(items[[2, 0]], z[[2, 0]]), rewards[[2, 0]], **EXACT)

    def test_reading_looks_at_each_item_alone(self) -> None:
        """Whatever stands beside an item, it reads the same; and to score is to read, then to combine."""
        head, items = self._head(), _normal(USERS, ITEMS, self.dim)
        z, read = _normal(USERS, self.latent, seed=2), head.read(items)
        assert read.shape[:-1] == items.shape[:-1]
        assert_close(head.read(items[:, [4, 1]]), read[:, [4, 1]], **EXACT)
        more = torch.cat([items, _normal(USERS, 2, self.dim, seed=4)], dim=1)
        assert_close(head.read(more)[:, :ITEMS], read, **EXACT)
        assert_close(head.read(items.flatten(0, 1)), read.flatten(0, 1), **EXACT)
        assert_close(head.combine(read, z), head(items, z), **EXACT)

    def test_the_latent_changes_preferences(self) -> None:
        """Not only all rewards of a user at once, which no choice would show."""
        rewards = self._head()(_normal(ITEMS, self.dim), _normal(USERS, self.latent, seed=2))
        centred = rewards - rewards.mean(-1, keepdim=True)
        assert (centred[0] - centred[1]).abs().max() > 1e-3, "two latents rank items alike"

    def test_linear_means_affine_in_z(self) -> None:
        """What exact quadrature relies on."""
        head, items = self._head(), _normal(ITEMS, self.dim)
        z = _normal(2, USERS, self.latent, seed=2)
        mixed, apart = head(items, 0.3 * z[0] + 0.7 * z[1]), head(items, z)
        straight = 0.3 * apart[0] + 0.7 * apart[1]
        if head.linear:
            assert_close(mixed, straight, **EXACT)
        else:
            assert (mixed - straight).abs().max() > 1e-6, "affine in z: declare linear = True"

    def test_gradient_reaches_every_parameter_and_the_latent(self) -> None:
        """A head that does not pass gradients on would leave the encoder untrained."""
        head, z = self._head(), _normal(USERS, self.latent, seed=2).requires_grad_()
        loss = (head(_normal(USERS, ITEMS, self.dim), z) * _normal(USERS, ITEMS, seed=3)).sum()
        moved = every_gradient(head, loss)
        assert all(moved.values()), f"no gradient reaches {[name for name, ok in moved.items() if not ok]}"
        assert z.grad is not None
        assert bool((z.grad.abs() > 0).all()), "no gradient reaches part of the latent"


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=step_generator(seed, 13), dtype=torch.float64)
