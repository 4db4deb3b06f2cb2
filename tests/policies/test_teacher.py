"""Which answers a teacher names, against a look at every answer in turn, and whose rewards it goes by."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tacit.policies.teacher import Rewards, Teacher, inferred_rewards
from tacit.rewards import RewardConfig, RewardModel
from tacit.rewards.network import RewardNetwork
from tacit.testing import random_choices

PROMPTS = [0, 0, 0, 1, 1, 2, 1, 3, 1, 1, 2, 4, 2, 0, 3, 4]
ITEMS = [(f"q{prompt}", f"answer {item}") for item, prompt in enumerate(PROMPTS)]
USED = torch.tensor([item not in (2, 6, 12) for item in range(len(ITEMS))])
USERS, LATENT, MOST = 5, 3, 64
ALL = 99


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def made_up(seed: int = 0, items: int = len(ITEMS)) -> Rewards:
    """A taste of every user, and what z makes of every item."""
    taste, features = normal(USERS, items, seed=seed), normal(items, LATENT, seed=seed + 1)

    def rewards(users: Tensor, answers: Tensor, z: Tensor) -> Tensor:
        return taste[users.unsqueeze(1), answers] + (features[answers] * z.unsqueeze(1)).sum(2)

    return rewards


def of_item(item: int, value: float) -> Rewards:
    """`value` for one item, 0 for all others."""
    return lambda users, answers, z: torch.where(answers == item, value, 0.0)


def looked_at_in_turn(rewards: Rewards, user: int, item: int, z: Tensor, known: list[int]) -> tuple[int, int, float]:
    found = {
        other: rewards(torch.tensor([user]), torch.tensor([[other]]), z.unsqueeze(0)).item()
        for other in known
        if ITEMS[other][0] == ITEMS[item][0]
    }
    best, worst = max(found, key=lambda other: found[other]), min(found, key=lambda other: found[other])
    return best, worst, found[best] - found[worst]


# -- the pair ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_the_pair_is_the_best_and_the_worst_used_answer_to_the_prompt(seed: int) -> None:
    """Of every user to every prompt, from whichever of its answers it is asked."""
    rewards = made_up(seed)
    teacher, known = Teacher.build(ITEMS, USED, rewards, compared=ALL), USED.nonzero().flatten().tolist()
    users = torch.arange(USERS).repeat_interleave(len(ITEMS))
    items, z = torch.arange(len(ITEMS)).repeat(USERS), normal(USERS * len(ITEMS), LATENT, seed=seed + 9)
    found, gap = teacher.pairs(users, items, z, items)
    for row, (user, item) in enumerate(zip(users.tolist(), items.tolist(), strict=True)):
        best, worst, apart = looked_at_in_turn(rewards, user, item, z[row], known)
        assert found[row].tolist() == [best, worst]
        assert gap[row].item() == pytest.approx(apart, abs=1e-5)
    assert gap.dtype == torch.float32
    assert gap.min() >= 0
    assert (gap > 0.1).float().mean() > 0.9
    assert bool(USED[found].all()), "an answer that nobody may use was named"


def test_both_the_user_and_z_matter() -> None:
    teacher = Teacher.build(ITEMS, USED, made_up(), compared=ALL)
    user, items, z = torch.zeros(16, dtype=torch.int64), torch.arange(16), normal(16, LATENT, seed=1)
    pairs, _ = teacher.pairs(user, items, z, items)
    assert not torch.equal(teacher.pairs(user + 1, items, z, items)[0], pairs)
    assert not torch.equal(teacher.pairs(user, items, -z, items)[0], pairs)


@pytest.mark.parametrize("value", [1000.0, -1000.0])
def test_what_fills_up_short_rows_is_never_named(value: float) -> None:
    """The first item stands in for it when rewards are asked for, and is extreme here."""
    teacher = Teacher.build(ITEMS, USED, of_item(0, value), compared=ALL)
    assert (teacher.answers < 0).sum() > 5
    others = torch.tensor([item for item, prompt in enumerate(PROMPTS) if prompt])
    pairs, gap = teacher.pairs(torch.zeros_like(others), others, torch.zeros(len(others), LATENT), others)
    assert torch.equal(teacher.prompt_of[pairs], teacher.prompt_of[others].unsqueeze(1).expand(-1, 2))
    assert gap.abs().max() == 0
    own, apart = teacher.pairs(torch.tensor([0]), torch.tensor([1]), torch.zeros(1, LATENT), torch.tensor([7]))
    assert own[0, 0 if value > 0 else 1] == 0
    assert apart.item() == 1000


def test_an_only_answer_is_both_with_no_gap() -> None:
    """Asked about with an item that nobody may use."""
    used = USED & (torch.arange(len(ITEMS)) != 10)
    pairs, gap = Teacher.build(ITEMS, used, made_up(), compared=ALL).pairs(
        torch.tensor([1]), torch.tensor([12]), normal(1, 3, seed=0), torch.tensor([0])
    )
    assert pairs.tolist() == [[5, 5]]
    assert gap.item() == 0


# -- very many answers -------------------------------------------------------------------------------------------------


def test_of_very_many_answers_always_the_same_few_are_looked_at() -> None:
    """At random: not the first ones."""
    items = [("q", f"answer {item}") for item in range(200)] + [("other", "x"), ("other", "y")]
    used = torch.arange(202) % 2 == 0
    torch.manual_seed(0)
    teacher = Teacher.build(items, used, made_up(items=202), compared=ALL)
    torch.manual_seed(1)
    assert torch.equal(Teacher.build(items, used, made_up(items=202), compared=ALL).answers, teacher.answers)
    kept = teacher.answers[0].tolist()
    assert teacher.answers.shape == (2, MOST)
    assert len(set(kept)) == MOST
    assert all(item % 2 == 0 and item < 200 for item in kept)
    assert set(kept) != set(range(0, 2 * MOST, 2))
    assert teacher.answers[1].tolist() == [200] + [-1] * (MOST - 1)

    users, asked, z = torch.zeros(9, dtype=torch.int64), torch.full((9,), 3), normal(9, LATENT, seed=5)
    pairs, gap = teacher.pairs(users, asked, z, torch.arange(9))
    values = made_up(items=202)(users, torch.tensor(kept).expand(9, -1), z)
    assert_close(gap, values.amax(1) - values.amin(1))
    assert pairs[:, 0].tolist() == [kept[place] for place in values.argmax(1).tolist()]


# -- which are compared ------------------------------------------------------------------------------------------------


def test_only_a_few_answers_are_compared_others_every_time() -> None:
    """Each as often as any other, and the same for the same number."""
    items = [("q", f"answer {item}") for item in range(10)] + [("other", "x"), ("other", "y"), ("other", "z")]
    asked_about: list[Tensor] = []

    def rewards(users: Tensor, answers: Tensor, z: Tensor) -> Tensor:
        asked_about.append(answers)
        return answers.float()

    teacher = Teacher.build(items, torch.ones(13, dtype=torch.bool), rewards, compared=4)
    rows, draw = torch.zeros(4000, dtype=torch.int64), torch.arange(4000)
    found, gap = teacher.pairs(rows, rows, torch.zeros(4000, 1), draw)
    compared = asked_about[0]
    assert compared.shape == (4000, 4)
    assert all(len(set(row)) == 4 and max(row) < 10 for row in compared[:200].tolist())
    assert torch.equal(found, torch.stack([compared.amax(1), compared.amin(1)], 1))
    assert torch.equal(gap, (found[:, 0] - found[:, 1]).float())
    assert_close(torch.bincount(compared.flatten()) / 4000, torch.full((10,), 0.4), rtol=0.1, atol=0)
    assert torch.equal(teacher.pairs(rows, rows, torch.zeros(4000, 1), draw)[0], found)
    assert not torch.equal(teacher.pairs(rows, rows, torch.zeros(4000, 1), draw + 1)[0], found)
    few = teacher.pairs(rows, rows + 11, torch.zeros(4000, 1), draw)[0]
    assert torch.equal(few, torch.tensor([12, 10]).expand(4000, -1)), "of three, all are compared"


def test_where_answers_were_written_prompts_of_few_answers_borrow_from_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of enough answers, and those that got some, keep to their own; which is lent is always the same."""
    monkeypatch.setattr("tacit.policies.teacher._LENDERS", 2)
    items = [("enough", f"{item}") for item in range(4)] + [(f"few {prompt}", "x") for prompt in range(40)]
    items += [("few 3", "written"), ("few 3", "also"), ("few 7", "written")]
    everything = torch.ones(len(items), dtype=torch.bool)
    plain = Teacher.build(items, everything, made_up(items=len(items)), compared=4)
    teacher = Teacher.build(items, everything, made_up(items=len(items)), compared=4, written=3)
    assert torch.equal(teacher.answers, plain.answers)
    own = plain.prompt_of
    assert own.tolist() == [0] * 4 + list(range(1, 41)) + [4, 4, 8]
    found = teacher.prompt_of
    keeps = (own == 0) | (own == 4) | (own == 8)
    assert torch.equal(found[keeps], own[keeps])
    lent = found[~keeps].tolist()
    assert set(lent) == {4, 8}
    assert 8 < lent.count(4) < 30
    again = Teacher.build(items, everything, made_up(items=len(items)), compared=4, written=3)
    assert torch.equal(again.prompt_of, found)
    alone = Teacher.build(items[:-1], everything[:-1], made_up(items=len(items)), compared=4, written=2)
    assert torch.equal(alone.prompt_of, own[:-1]), "one prompt was taught in place of all"


def test_a_prompt_of_plenty_never_borrows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where more are to be compared than are looked at."""
    monkeypatch.setattr("tacit.policies.teacher._LENDERS", 1)
    items = [("plenty", f"{item}") for item in range(90)] + [("few", "x"), ("few", "written")]
    everything = torch.ones(len(items), dtype=torch.bool)
    teacher = Teacher.build(items, everything, made_up(items=len(items)), compared=80, written=1)
    assert teacher.prompt_of.tolist() == [0] * 90 + [1, 1]


# -- whose rewards -----------------------------------------------------------------------------------------------------


def bilinear() -> RewardModel:
    return reward_model(RewardConfig(members=1, latent=LATENT))


def several_members() -> RewardModel:
    return reward_model(RewardConfig(members=2, latent=LATENT))


def mlp() -> RewardModel:
    return reward_model(
        RewardConfig.model_validate(
            {"encoder": {"kind": "additive", "evidence": "network"}, "head": "mlp", "latent": LATENT}
        )
    )


def reward_model(config: RewardConfig) -> RewardModel:
    """With weights and a standardisation that leave nothing at 0 or 1."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        network = RewardNetwork(8, config).eval()
        network.standardizer.fit(3 * torch.randn(50, 8) + 1)
        for parameter in network.parameters():
            parameter.data.add_(0.1 * torch.randn(parameter.shape))
    return RewardModel(network)


@pytest.mark.parametrize("make", [bilinear, several_members, mlp])
def test_inferred_rewards_are_the_scores_at_the_posterior_mean(make: Callable[[], RewardModel]) -> None:
    """Of more items than are read at once."""
    reward, vectors = make(), normal(4100, 8, seed=3)
    states = reward.infer(random_choices(USERS, 6, 8, dtype=torch.float32))
    scores, z = reward.score(states, vectors), reward.posterior(states).mean
    users = torch.tensor([0, 3, 3, 4])
    items = torch.tensor([[0, 4099, 17], [4095, 4096, 4097], [2000, 2, 2], [1, 4098, 5]])
    found = inferred_rewards(reward, vectors)(users, items, z[users])
    assert_close(found, scores[users.unsqueeze(1), items], rtol=1e-4, atol=1e-5)
    assert not found.requires_grad
    assert found.std() > 0.01
    assert (found - inferred_rewards(reward, vectors)(users, items, 0 * z[users])).abs().max() > 0.01
