"""Drawing within the base: a policy chooses among what the base itself could have written, and nothing else."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from moved_policy import answers, moved, some_z
from torch import Tensor
from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopPLogitsWarper

from tacit.engines import Sampling, TransformersEngine, load_base, requests
from tacit.engines.transformers.logits_processors import WithinBase
from tacit.rewards import RewardModel
from tacit.steering import SteerablePolicy

PROMPTS = ["What is it, and where?", "Say a word", "Q"]  # of different lengths, so that shorter ones are padded
DRAWN = Sampling(max_new_tokens=24, temperature=0.8, top_p=0.6, samples=3, seed=4)


@pytest.fixture(params=["llama", "gpt2"])
def steered(
    request: pytest.FixtureRequest, base_folder: Path, gpt2_folder: Path, reward: RewardModel
) -> TransformersEngine:
    base = load_base(str({"llama": base_folder, "gpt2": gpt2_folder}[request.param]))
    return TransformersEngine(base, moved(SteerablePolicy.new(base, reward)))


def outside(engine: TransformersEngine, sampling: Sampling) -> int:
    """How many tokens were drawn that the base, reading every prefix afresh and alone, would not have drawn."""
    drawn: list[tuple[Tensor, Tensor]] = []
    run: Any = engine.base.model.generate

    def noted(**given: Any) -> Tensor:
        rows = run(**given)
        drawn.append((rows, given["attention_mask"]))
        return rows

    engine.base.model.generate = noted  # type: ignore[assignment]
    engine.generate(requests(PROMPTS, some_z(3), sampling))
    ((rows, mask),) = drawn
    warps = LogitsProcessorList([TemperatureLogitsWarper(sampling.temperature), TopPLogitsWarper(sampling.top_p)])
    found = 0
    for row, seen in zip(rows, mask, strict=True):
        ids, start = row[int((1 - seen).sum()) :], int(seen.sum())
        with engine.steered(None) as model, torch.no_grad():
            logits = model(input_ids=ids.unsqueeze(0)).logits[0].float()
        allowed = warps(ids.unsqueeze(0), logits).isfinite()
        for place in range(start, len(ids)):
            if ids[place] == engine.base.pad:
                break
            found += not allowed[place - 1, ids[place]]
    return found


def test_every_token_is_one_that_the_base_could_have_drawn(steered: TransformersEngine) -> None:
    assert outside(steered, DRAWN) > 20, "the policy would not leave the base anyway"
    assert outside(steered, DRAWN.model_copy(update={"within_base": True})) == 0


def test_users_still_differ_and_the_seed_still_fixes_them(steered: TransformersEngine) -> None:
    sampling = DRAWN.model_copy(update={"within_base": True})
    one, other, again = (answers(steered, PROMPTS, z, sampling) for z in (some_z(3), -some_z(3), some_z(3)))
    assert one == again != other


def test_nothing_changes_where_the_policy_is_the_base(engine: TransformersEngine, reward: RewardModel) -> None:
    sampling = DRAWN.model_copy(update={"within_base": True})
    assert answers(engine, PROMPTS, None, sampling) == answers(engine, PROMPTS, None, DRAWN)
    new = TransformersEngine(engine.base, SteerablePolicy.new(engine.base, reward))
    assert answers(new, PROMPTS, some_z(3), sampling) == answers(new, PROMPTS, None, DRAWN)


def test_a_stream_keeps_within_the_base_too(steered: TransformersEngine) -> None:
    sampling = DRAWN.model_copy(update={"within_base": True, "samples": 1})
    pieces = "".join(steered.stream(requests(PROMPTS[:1], some_z(), sampling)[0]))
    assert pieces.strip() == answers(steered, PROMPTS[:1], some_z(), sampling)[0][0]


def test_where_the_two_have_no_token_in_common_the_base_writes_the_next() -> None:
    class Fixed:
        def forward(self, input_ids: Tensor, **_: Any) -> Any:
            logits = torch.tensor([[5.0, 4.0, 0.0, 0.0], [5.0, 4.0, 0.0, 0.0]])
            return SimpleNamespace(logits=logits.unsqueeze(1), past_key_values=None)

        __call__ = forward

    warp: Any = TopPLogitsWarper(0.9)
    ids, none = torch.zeros(2, 1, dtype=torch.int64), -torch.inf
    scores = torch.tensor([[none, 1.0, 3.0, none], [none, none, 2.0, 3.0]])
    found = WithinBase(Fixed(), torch.ones_like(ids), warp)(ids, scores)
    assert found.tolist() == [[none, 1.0, none, none], [5.0, 4.0, none, none]]
