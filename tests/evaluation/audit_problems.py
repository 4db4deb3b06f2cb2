"""Small tables whose audit has a known answer: people of two opposed tastes, or of one."""

from typing import Any

import torch
from torch import Tensor

from tacit.choices import Choice, ChoiceTable
from tacit.rewards import RewardConfig
from tacit.training import TrainingConfig

CONFIG = RewardConfig.model_validate({"latent": 2, "members": 1, "head": {"hidden": ()}, "dropout": 0.0})
TRAINING = TrainingConfig(
    steps=60, users_per_batch=32, max_context=8, targets=8, learning_rate=0.02, validate_every=30, threads=1,
    device="cpu",
)  # fmt: skip
QUICK: dict[str, Any] = {"config": CONFIG, "training": TRAINING}


def opposed(*, differ: bool, users: int = 120, choices: int = 16, prompts: int = 40, seed: int = 0) -> ChoiceTable:
    """Two answers to each prompt, short or long at random places; a tenth of all choices are slips."""
    g = torch.Generator().manual_seed(seed)
    rows = []
    for user in range(users):
        taste = 1 if not differ or user % 2 else -1
        for prompt in torch.randperm(prompts, generator=g)[:choices].tolist():
            slip = float(torch.rand((), generator=g)) < 0.1
            pair = (f"short answer {prompt}", f"long answer {prompt}")
            better, worse = pair if (taste > 0) != slip else pair[::-1]
            rows.append(Choice.pair(f"user {user}", f"question {prompt}", better, worse))
    return ChoiceTable.from_choices(rows, source="planted")


def vectors_of(table: ChoiceTable) -> Tensor:
    """Float32[items 3]: short or long, and two numbers of no meaning."""
    g = torch.Generator().manual_seed(7)
    short = torch.tensor([1.0 if response.startswith("short") else -1.0 for _, response in table.item_texts()])
    return torch.cat([short.unsqueeze(1), torch.randn(len(short), 2, generator=g)], dim=1)
