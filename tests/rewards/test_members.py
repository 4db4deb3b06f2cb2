"""Members side by side are the average of their kernels, and the pooled reward stays what it was."""

from pathlib import Path

import pytest
import torch
from reward_problems import problem, short, small
from torch.testing import assert_close

from tacit.baselines import PooledBTL
from tacit.rewards import RewardConfig, RewardModel, fit_reward
from tacit.rewards.ensemble import fit_scale, folds, join_members
from tacit.rewards.episodic_fit import FitData, fit_data
from tacit.rewards.network import RewardNetwork
from tacit.training import TrainingConfig

ONE = RewardConfig.model_validate({"members": 1, "latent": 3, "head": {"hidden": (6, 5)}, "dropout": 0.0})
COUNT = 3


def joined() -> tuple[RewardNetwork, list[RewardNetwork]]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        members = [RewardNetwork(4, ONE).double().eval() for _ in range(COUNT)]
        whole = RewardNetwork(4, ONE.model_copy(update={"members": len(members)})).double().eval()
    for member in members[1:]:
        member.head.net.base.load_state_dict(members[0].head.net.base.state_dict())  # type: ignore[union-attr]
    join_members(whole, members)
    return whole, members


def test_the_kernel_is_the_mean_of_the_members() -> None:
    whole, members = joined()
    items = torch.randn(7, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    f, b = whole.head.features(items)  # type: ignore[operator]
    each = [member.head.features(items) for member in members]  # type: ignore[operator]
    assert f.shape == (7, 9)
    kernels = [g @ g.T for g, _ in each]
    assert_close(f @ f.T, torch.stack(kernels).mean(0))
    assert_close(b, each[0][1])
    assert bool((f @ f.T).abs().max() > 0.01)


def test_one_member_is_the_network_itself() -> None:
    whole, members = joined()
    alone = RewardNetwork(4, ONE).double().eval()
    join_members(alone, members[:1])
    items = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    assert_close(alone.head.net(items), members[0].head.net(items))  # type: ignore[operator]
    assert not torch.equal(whole.head.net(items)[:, :3], alone.head.net(items)[:, :3])  # type: ignore[operator]


def test_the_default_trains_four_on_one_base(tmp_path: Path) -> None:
    users = problem(users=40, choices=12)
    names: list[str] = []
    model = fit_reward(
        **users.settings(), config=RewardConfig.model_validate({"latent": 2, "head": {"hidden": (8,)}}),
        training=TrainingConfig(steps=10, validate_every=10, threads=1, device="cpu"), folder=tmp_path / "run",
        on_event=lambda event: names.append(event["name"]),
    )  # fmt: skip
    runs = [name for name in dict.fromkeys(names) if name != "reward"]  # which is the warning that nobody differs yet
    assert runs == ["base", "reward 1/4", "reward 2/4", "reward 3/4", "reward 4/4"]
    assert model.network.encoder.latent == 8
    wide = model.network.head.net.personal[0].weight  # type: ignore[union-attr, index]
    assert not torch.equal(wide[:8], wide[8:16])
    model.save(tmp_path / "model")
    again = RewardModel.load(tmp_path / "model")
    assert_close(again.score(again.prior(), users.vectors), model.score(model.prior(), users.vectors))


def parts(*, seen: bool) -> list[FitData]:
    users = problem(users=40, choices=12)
    targets = torch.zeros(int(users.train.group.max()) + 1, dtype=torch.bool)
    if seen:
        targets[users.train.group[:50]] = True
    targets = torch.cat([targets, torch.ones(int(users.validation.group.max()) + 1 - len(targets), dtype=torch.bool)])
    return folds(fit_data(**users.settings(), target_groups=targets), 4, seed=0)


def test_every_group_is_left_out_once_where_items_will_be_new() -> None:
    data = problem(users=40, choices=12)
    groups = [set(part.choices.group.flatten().tolist()) for part in parts(seen=False)]
    every = set(data.train.group.flatten().tolist())
    for part, trained in zip(parts(seen=False), groups, strict=True):
        assert part.target_groups is not None
        assert not bool(part.target_groups[part.choices.group].any())
        assert 0.6 < len(trained) / len(every) < 0.9
    assert all(sum(group in trained for trained in groups) == 3 for group in every)


def test_nothing_is_left_out_where_items_are_known_in_use() -> None:
    assert len({id(part) for part in parts(seen=True)}) == 1


@pytest.mark.parametrize(("differ", "least", "most"), [(True, 0.5, 1.2), (False, 0.0, 0.35)])
def test_the_personal_part_is_as_large_as_it_serves(differ: bool, least: float, most: float) -> None:
    """Users who are all alike keep the pooled reward; users who differ keep their own."""
    users = problem(differ=differ)
    noise = torch.Generator().manual_seed(0)
    data = fit_data(**users.settings())
    config, training = small(dropout=0.3), short(steps=60)
    networks = []
    pooled = PooledBTL.fit(**users.settings(), config=config, training=training)
    for seed in range(2):
        model = fit_reward(**users.settings(), config=config, training=short(steps=60, seed=seed), pooled=pooled)
        networks.append(model.network)
        if not differ:  # what training made small is made large again
            last = model.network.head.net.personal[-1].weight  # type: ignore[union-attr, index]
            last.data = torch.randn(last.shape, generator=noise)  # type: ignore[arg-type]
    before = networks[0].head.net.personal[-1].weight.clone()  # type: ignore[union-attr, index]
    assert least <= fit_scale(networks, [data.episodes(training)] * 2) <= most
    assert torch.equal(networks[0].head.net.personal[-1].weight, before)  # type: ignore[union-attr, index]
