from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tacit.choices import Choice, ChoiceIndex, ChoiceTable, read_choices
from tacit.errors import ChoiceError, ConfigError
from tacit.evaluation.benchmark.from_table import task_from_table, within
from tacit.evaluation.benchmark.task import side_of_choices


def make(choices, seed=0, **settings):
    table = ChoiceTable.from_choices(choices, source="a file")
    vectors = torch.randn(table.n_items, 3, generator=torch.Generator().manual_seed(0))
    return table, task_from_table(table, vectors, seed=seed, name="mine", **settings)


def pairs(users=60, prompts=30, each=12, seed=0):
    rng = np.random.default_rng(seed)
    for user in range(users):
        for prompt in rng.choice(prompts, each, replace=False):
            a, b = rng.choice(4, 2, replace=False)
            yield Choice.pair(f"user {user}", f"prompt {prompt}", f"answer {a}", f"answer {b}")


def rankings(users=40, items=30, each=6, width=6, seed=0):
    """Rankings, some with ties, of answers to the one prompt there is."""
    rng = np.random.default_rng(seed)
    for user in range(users):
        for _ in range(each):
            texts = tuple(f"item {i}" for i in rng.choice(items, width, replace=False))
            rank = tuple(np.cumsum([0, *rng.integers(0, 2, width - 1)]).tolist())
            yield Choice(user_id=f"user {user}", prompt="Which?", responses=texts, rank=rank)


def names(table, part):
    """User ids of a part, by the rows its choices came from."""
    return {table.users[int(table.user[row])].as_py() for row in part.index.row}


def check(table, task):
    """No leak, whole ranks, everything as the table says."""
    asked = task.validation.targets | task.test.targets
    assert not asked[task.train.index.group].any()
    assert not task.test.targets[task.validation.index.group].any()
    assert not (task.validation.targets & task.test.targets).any()
    people = [names(table, part) for part in (task.train, task.validation, task.test)]
    assert len(set.union(*people)) == sum(map(len, people))
    for part in (task.train, task.validation, task.test):
        context, target = side_of_choices(part)
        assert (context ^ target).all()
        index = part.index
        real = index.rank >= 0
        assert (real.sum(1) >= 2).all()
        assert (index.rank[:, 0] == 0).all()
        step = index.rank.diff(dim=1)[real[:, 1:]]
        assert ((step == 0) | (step == 1)).all()
        for items, rank, row in zip(index.items, index.rank, index.row, strict=True):
            told = dict(zip(table.items[row][table.rank[row] >= 0], table.rank[row], strict=False))
            mine = [told[int(i)] for i in items[rank >= 0]]  # every item is of this very choice
            assert mine == sorted(mine)
            assert [a == b for a, b in pairwise(mine)] == (rank[rank >= 0].diff() == 0).tolist()


def test_prompts_and_people_are_both_held_out():
    table, task = make(pairs())
    check(table, task)
    assert task.facts["groups"] == "prompts"
    assert task.texts == tuple(table.item_texts())
    assert task.train.n_users + task.validation.n_users + task.test.n_users == 60
    assert int(task.test.targets[: table.n_prompts].sum()) in (7, 8)
    kept = sum(len(part.index) for part in (task.train, task.validation, task.test))
    assert kept == 720 - task.facts["choices_lost_across_sides"] < 720


def test_one_seed_fixes_the_division_and_another_changes_it():
    (table, a), (_, b), (_, c) = make(pairs()), make(pairs()), make(pairs(), seed=1)
    assert torch.equal(a.test.index.items, b.test.index.items)
    assert torch.equal(a.test.targets, b.test.targets)
    assert not torch.equal(a.test.targets, c.test.targets)
    assert names(table, a.test) != names(table, c.test)


def test_shares_are_kept():
    _, task = make(pairs(users=2000, prompts=300, each=3), split=(0.5, 0.2, 0.3), target_share=0.15)
    assert [task.train.n_users, task.validation.n_users, task.test.n_users] == [1000, 400, 600]
    assert [int(part.targets[:300].sum()) for part in (task.train, task.validation, task.test)] == [0, 30, 45]


def test_one_prompt_is_divided_by_items_and_rankings_are_cut():
    table, task = make(rankings())
    check(table, task)
    assert task.facts["groups"] == "items"
    assert task.facts["test_target_choices"] > 0
    assert (task.test.index.rank >= 0).sum(1).unique().numel() > 2  # cut to several lengths


def test_users_with_a_single_choice_and_ties_do_no_harm():
    ties = [Choice(user_id=f"user {u}", prompt=f"prompt {p}", responses=("a", "b"), rank=(0, 0))
            for u in range(10) for p in range(30)]  # fmt: skip
    lonely = [Choice.pair(f"lonely {u}", f"prompt {u % 30}", "answer 0", "answer 1") for u in range(30)]
    table, task = make([*pairs(), *ties, *lonely])
    check(table, task)
    item_group = task.train.index.group >= table.n_prompts
    assert item_group.any()
    prompt = torch.from_numpy(table.item_prompt.astype(np.int64))
    held_out = task.validation.targets | task.test.targets
    assert not held_out[prompt[task.train.index.items[item_group]]].any()  # a lonely choice follows its prompt


def write(path, rows):
    lines = ["user_id,prompt,chosen,rejected,split"]
    lines += [f"u{user},p{prompt},a{user % 3},b,{split}" for user, prompt, split in rows]
    path.write_text("\n".join(lines) + "\n")
    return read_choices(path)


def test_a_split_column_decides_about_people(tmp_path):
    split = {0: "validation", 1: "test", 2: "other"}
    rows = [(user, prompt, split.get(user % 5, "train")) for user in range(60) for prompt in range(30)]
    table = write(tmp_path / "data.csv", rows)
    task = task_from_table(table, torch.ones(table.n_items, 2), seed=0, name="mine")
    assert names(table, task.validation) == {f"u{u}" for u in range(0, 60, 5)}
    assert [task.train.n_users, task.validation.n_users, task.test.n_users] == [24, 12, 12]
    asked = task.validation.targets | task.test.targets
    assert not asked[task.train.index.group].any()


def test_parts_the_split_column_does_not_name_come_from_training_people(tmp_path):
    rows = [(user, prompt, "test" if user < 10 else "train") for user in range(60) for prompt in range(30)]
    table = write(tmp_path / "data.csv", rows)
    task = task_from_table(table, torch.ones(table.n_items, 2), seed=0, name="mine")
    assert task.test.n_users == 10
    assert names(table, task.test) == {f"u{u}" for u in range(10)}
    assert [task.train.n_users, task.validation.n_users] == [40, 10]


@pytest.mark.parametrize(
    ("split_of", "message"),
    [
        (lambda user, prompt: "dev", "without 'train' rows"),
        (lambda user, prompt: "train" if prompt % 2 else "test", "20 users have rows in two"),
        (lambda user, prompt: "train" if user < 3 else "test", "3 users to train on and to hold out"),
    ],
    ids=["no train", "by row", "few train"],
)
def test_a_split_column_that_cannot_be_honoured_is_one_line(tmp_path, split_of, message):
    rows = [(user, prompt, split_of(user, prompt)) for user in range(20) for prompt in range(20)]
    table = write(tmp_path / "data.csv", rows)
    with pytest.raises(ChoiceError, match=message) as error:
        task_from_table(table, torch.ones(table.n_items, 2), seed=0, name="mine")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        (pairs(users=5), "5 users to train on"),
        (pairs(prompts=2, each=2), "with a strict choice to foresee"),
        (pairs(each=1), "with a strict choice to foresee"),
        (rankings(items=3, width=2), "with a strict choice to foresee"),
    ],
    ids=["users", "prompts", "one choice each", "items"],
)
def test_too_little_data_is_one_line(choices, message):
    with pytest.raises(ChoiceError, match=message) as error:
        make(choices)
    assert "\n" not in str(error.value)


def test_shares_out_of_range_are_refused():
    with pytest.raises(ConfigError, match=r"target_share 0\.7"):
        make(pairs(), target_share=0.7)


@settings(max_examples=60)
@given(st.data())
def test_within_keeps_order_and_strikes_the_rest(data):
    width, n = data.draw(st.integers(2, 5)), data.draw(st.integers(1, 6))
    steps = torch.tensor(data.draw(st.lists(st.integers(0, 1), min_size=n * (width - 1), max_size=n * (width - 1))))
    rank = torch.cat([torch.zeros(n, 1, dtype=torch.int64), steps.view(n, width - 1).cumsum(1)], dim=1)
    items = torch.stack([torch.randperm(9, generator=torch.Generator().manual_seed(i))[:width] for i in range(n)])
    padded = torch.tensor(data.draw(st.lists(st.integers(2, width), min_size=n, max_size=n)))
    pad = torch.arange(width) >= padded.unsqueeze(1)
    rank[pad], items[pad] = -1, 0
    group = items.where(~pad, items[:, :1])
    index = ChoiceIndex.build(torch.zeros(n, dtype=torch.int64), items, rank, group, n_users=1)
    groups = torch.tensor(data.draw(st.lists(st.booleans(), min_size=9, max_size=9)))
    left = within(index, groups)
    expected = []
    for choice, ranks in zip(index.items.tolist(), index.rank.tolist(), strict=True):
        kept = [(i, r) for i, r in zip(choice, ranks, strict=True) if r >= 0 and groups[i]]
        if len(kept) > 1:
            dense = {r: place for place, r in enumerate(sorted({r for _, r in kept}))}
            expected.append([(i, dense[r]) for i, r in kept])
    found = [
        [(i, r) for i, r in zip(choice, ranks, strict=True) if r >= 0]
        for choice, ranks in zip(left.items.tolist(), left.rank.tolist(), strict=True)
    ]
    assert found == expected
    assert groups[left.group].all()
    assert int(left.offsets[-1]) == len(left)
