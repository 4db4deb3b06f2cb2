"""Tiny bases and a reward model over hashed texts: fixtures of every room that has to do with policies."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from moved_policy import moved
from tiny_base import save_base
from transformers.utils import logging as transformers_logging

from tacit.engines import Base, TransformersEngine, load_base
from tacit.rewards import RewardConfig, RewardModel
from tacit.rewards.network import RewardNetwork
from tacit.steering import PolicyConfig, SteerablePolicy

transformers_logging.disable_progress_bar()


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def chat_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_base(tmp_path_factory.mktemp("chat"), chat=True)


@pytest.fixture(scope="session")
def gpt2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_base(tmp_path_factory.mktemp("gpt2"), gpt2=True)


@pytest.fixture
def base(base_folder: Path) -> Base:
    return load_base(str(base_folder))


@pytest.fixture(scope="module")
def shared_base(base_folder: Path) -> Base:
    """For a whole file: every engine leaves it as it was."""
    return load_base(str(base_folder))


@pytest.fixture(scope="session")
def reward() -> RewardModel:
    torch.manual_seed(1)
    return RewardModel(RewardNetwork(64, RewardConfig(members=1, latent=4)).eval())


@pytest.fixture
def policy(base: Base, reward: RewardModel) -> SteerablePolicy:
    return moved(SteerablePolicy.new(base, reward))


@pytest.fixture
def engine(base: Base, policy: SteerablePolicy) -> Iterator[TransformersEngine]:
    with TransformersEngine(base, policy) as opened:
        yield opened


@pytest.fixture
def film_engine(base: Base, reward: RewardModel) -> Iterator[TransformersEngine]:
    policy = moved(SteerablePolicy.new(base, reward, PolicyConfig.model_validate({"modulator": "film"})))
    with TransformersEngine(base, policy) as opened:
        yield opened
