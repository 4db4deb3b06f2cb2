"""The smaller of two groups: found, told from a cloud, and what it wants."""

from dataclasses import replace

import torch
from audit_problems import CONFIG, TRAINING, opposed, vectors_of

from tacit.evaluation.audit import find_minority
from tacit.evaluation.audit.minority import _separation, two_means
from tacit.evaluation.benchmark import Part, Task
from tacit.rewards import fit_reward


def test_two_means_finds_the_smaller_of_two_clouds() -> None:
    g = torch.Generator().manual_seed(0)
    points = 0.3 * torch.randn(100, 3, generator=g, dtype=torch.float64)
    truth = torch.arange(100) % 5 == 0
    points[truth] += 2.0
    member = two_means(points)
    assert torch.equal(member, truth)
    assert _separation(points, member) > 0.9
    cloud = torch.randn(5000, 3, generator=g, dtype=torch.float64)
    assert 0.55 < _separation(cloud, two_means(cloud)) < 0.7


def test_points_that_are_all_the_same_have_no_members() -> None:
    assert not two_means(torch.ones(10, 2, dtype=torch.float64)).any()


def test_the_minority_wants_what_the_majority_does_not() -> None:
    table = opposed(differ=True)
    names = [int(name.split()[1]) for name in table.users.to_pylist()]
    long_lovers = [i for i, name in enumerate(names) if name % 2 == 0]
    # Of those who like it long, every third stays: a minority of a quarter.
    kept = torch.tensor(sorted([i for i, name in enumerate(names) if name % 2] + long_lovers[::3]))
    index, vectors = table.index().of_users(kept), vectors_of(table)
    target = torch.zeros(table.n_prompts + table.n_items, dtype=torch.bool)
    target[:5] = True
    parts = [index.of_users(torch.arange(a, b)) for a, b in ((0, 30), (30, 50), (50, len(kept)))]
    task = Task("planted", 0, vectors, *(Part(part, target) for part in parts), texts=tuple(table.item_texts()))
    model = fit_reward(parts[0], vectors, validation=parts[1], target_groups=target, config=CONFIG, training=TRAINING)
    found = find_minority(model, task)
    assert found is not None
    assert found.people == 50
    assert 0.1 < found.share < 0.45
    assert found.clear
    assert all(item.response and item.response.startswith("long") and item.shift > 0 for item in found.rising)
    assert all(item.response and item.response.startswith("short") and item.shift < 0 for item in found.falling)
    assert len(found.rising) == len(found.falling) == 5
    assert all(item.agreeing > 0.9 for item in found.rising)
    nameless = find_minority(model, replace(task, texts=None))
    assert nameless is not None
    assert nameless.rising[0].response is None
