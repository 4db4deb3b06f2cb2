"""Fitted baselines on users of two types: the pooled ones see the average, the oracle sees each type."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tacit.baselines import DPL, OracleBTL, PooledBTL, PublishedDPL
from tacit.choices import ChoiceIndex
from tacit.rewards import RewardConfig
from tacit.training import TrainingConfig

CONFIG = RewardConfig.model_validate({"head": {"hidden": (16,)}})
TRAINING = TrainingConfig(
    steps=150, users_per_batch=20, max_context=0, targets=20, learning_rate=0.02, validate_every=50,
    threads=1, device="cpu",
)  # fmt: skip


def users(first: int, last: int) -> tuple[ChoiceIndex, Tensor]:
    """Users of two types: all like the first number of an item, and disagree on the second."""
    user = torch.arange(last - first).repeat_interleave(40)
    pair = VECTORS[80 * first : 80 * last].reshape(-1, 2, 2)
    sign = 1.0 - 2.0 * (user % 2)
    gap = (pair[:, 0] - pair[:, 1]) @ torch.tensor([2.0, 0.0]) + 3 * sign * (pair[:, 0, 1] - pair[:, 1, 1])
    number = 40 * first + torch.arange(len(user))
    items = 2 * number.unsqueeze(1) + torch.stack([gap < 0, gap >= 0], 1).long()
    index = ChoiceIndex.build(
        user, items, torch.tensor([0, 1]).expand_as(items), number.unsqueeze(1).expand_as(items), n_users=last - first
    )
    return index, torch.arange(last - first) % 2


VECTORS = torch.randn(80 * 60, 2, generator=torch.Generator().manual_seed(0))
TRAIN, TRAIN_TYPE = users(0, 40)
VALIDATION, VALIDATION_TYPE = users(40, 60)
SETTINGS: dict[str, Any] = {"validation": VALIDATION, "config": CONFIG, "training": TRAINING}
FIRST, SECOND = torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, 0.0]])


def gain(model: Any, items: Tensor) -> float:
    """Probability that the first of two items is preferred."""
    return model.prefer(model.prior(), items[:1], items[1:]).item()


def test_the_pooled_btl_takes_the_average() -> None:
    model = PooledBTL.fit(TRAIN, VECTORS, **SETTINGS)
    assert model.name == "btl"
    assert gain(model, FIRST) > 0.6  # they agree
    assert gain(model, SECOND) == pytest.approx(0.5, abs=0.1)  # they cancel out


def test_the_oracle_tells_the_types_apart() -> None:
    oracle = OracleBTL.fit(TRAIN, VECTORS, groups=TRAIN_TYPE, validation_groups=VALIDATION_TYPE, **SETTINGS)
    assert len(oracle.models) == 2
    assert gain(oracle.told(0), SECOND) > 0.8
    assert gain(oracle.told(1), SECOND) < 0.2


@pytest.mark.parametrize("kind", [DPL, PublishedDPL])
def test_dpl_shows_disagreement_as_variance(kind: type[DPL]) -> None:
    """Items that stand far out in what users disagree on are the uncertain ones; mean s is 1 over training items."""
    model = kind.fit(TRAIN, VECTORS, **SETTINGS)
    head = model.network.head
    with torch.no_grad():
        standard = model.network.standardizer(VECTORS[: 80 * 40])
        scale = head.read(standard)[..., 1]
    assert scale.mean().item() == pytest.approx(1, abs=1e-5)
    far = standard[:, 1].abs() > 1.5
    assert scale[far].mean() > 1.3 * scale[~far].mean()
    assert gain(model, FIRST) > 0.6


def test_links_differ_in_name_and_are_not_mistaken_for_each_other(tmp_path: Path) -> None:
    from tacit.errors import ModelFormatError

    short = SETTINGS | {"training": TRAINING.model_copy(update={"steps": 1})}
    PublishedDPL.fit(TRAIN, VECTORS, **short).save(tmp_path / "m")
    assert isinstance(PublishedDPL.load(tmp_path / "m"), PublishedDPL)
    with pytest.raises(ModelFormatError, match="kind 'dpl_published' where 'dpl' was expected"):
        DPL.load(tmp_path / "m")


def test_the_oracles_groups_do_not_share_a_folder(tmp_path: Path) -> None:
    settings = SETTINGS | {"training": TRAINING.model_copy(update={"steps": 2})}
    OracleBTL.fit(TRAIN, VECTORS, groups=TRAIN_TYPE, validation_groups=VALIDATION_TYPE, folder=tmp_path, **settings)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["oracle-0", "oracle-1"]
