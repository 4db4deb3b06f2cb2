"""Log-probabilities of responses against a loop over tokens, one row and one prefix at a time."""

from pathlib import Path
from typing import Any

import pytest
import torch
from moved_policy import moved
from torch.testing import assert_close

from tacit.engines import Base, TransformersEngine, load_base
from tacit.engines.transformers.dialogue import Tokens
from tacit.engines.transformers.log_probs import response_log_probs
from tacit.rewards import RewardModel
from tacit.steering import PolicyConfig, SteerablePolicy

ITEMS = [
    ("What is it?", "a cat"),
    ("Say a word of your own, and no more than one.", "x"),
    ("Q", "many words, one after the other"),
]
Z = 1.5 * torch.randn(3, 4, generator=torch.Generator().manual_seed(2))
CLOSE: dict[str, Any] = {"rtol": 1e-5, "atol": 2e-4}


@torch.no_grad()
def token_by_token(model: Any, prompt: list[int], response: list[int]) -> list[float]:
    """log p of each response token, from the full logits of everything before it and nothing else."""
    found = []
    for at, token in enumerate(response):
        seen = torch.tensor([[*prompt, *response[:at]]])
        logits = model(input_ids=seen, use_cache=False).logits[0, -1]
        found.append(float(logits.double().log_softmax(-1)[token]))
    return found


def texts_as_tokens(base: Base, prompt: str, response: str, *, chat: bool) -> tuple[list[int], list[int]]:
    """Written out by hand: byte by byte, with a beginning where there is no template, and an end."""

    def ids(text: str) -> list[int]:
        return base.tokenizer.convert_tokens_to_ids(list(text.replace(" ", "Ġ").replace("\n", "Ċ")))

    before = ids(f"<user>{prompt}\n<assistant>") if chat else [1, *ids(f"{prompt}\n")]
    return before, [*ids(response), 2]


@pytest.fixture
def chat_engine(chat_folder: Path, reward: RewardModel) -> TransformersEngine:
    base = load_base(str(chat_folder))
    return TransformersEngine(base, moved(SteerablePolicy.new(base, reward)))


@pytest.mark.parametrize("steered", [False, True])
@pytest.mark.parametrize("chat", [False, True])
def test_every_response_token_counts_once_the_first_and_the_end_too(
    chat: bool, steered: bool, engine: TransformersEngine, chat_engine: TransformersEngine
) -> None:
    asked = chat_engine if chat else engine
    found = asked.log_probs(ITEMS, Z if steered else None)
    assert found.shape == (3,)
    assert found.dtype == torch.float32
    for row, (prompt, response) in enumerate(ITEMS):
        tokens = texts_as_tokens(asked.base, prompt, response, chat=chat)
        with asked.steered(Z[row : row + 1] if steered else None) as model:
            each = token_by_token(model, *tokens)
        assert len(each) == len(response) + 1
        assert min(-each[0], -each[-1]) > 0.01, "leaving out the first or the last would not show"
        assert found[row].item() == pytest.approx(sum(each), abs=2e-4)


def test_they_do_not_depend_on_the_batch(engine: TransformersEngine) -> None:
    """Neither on the other rows, nor on their order, nor on how long they are."""
    alone = torch.cat([engine.log_probs([item], Z[row : row + 1]) for row, item in enumerate(ITEMS)])
    together = engine.log_probs(ITEMS, Z)
    assert_close(together, alone, **CLOSE)
    order = [2, 0, 1]
    assert_close(engine.log_probs([ITEMS[i] for i in order], Z[order]), alone[order], **CLOSE)
    assert (together - engine.log_probs(ITEMS, Z.flip(0))).abs().max() > 0.1


@torch.no_grad()
def test_padding_on_the_left_does_not_matter(base: Base) -> None:
    """However much there is of it, and whatever tokens it holds."""
    ids, response = torch.tensor([[5, 6, 7, 8, 9], [50, 51, 52, 53, 54]]), torch.tensor([2, 4])
    expected = response_log_probs(base.model, Tokens(ids, torch.ones_like(ids), response))
    noise = torch.tensor([[0, 99, 7], [2, 2, 200]])
    mask = torch.cat([torch.zeros_like(noise), torch.ones_like(ids)], dim=1)
    assert_close(response_log_probs(base.model, Tokens(torch.cat([noise, ids], 1), mask, response)), expected, **CLOSE)


@torch.no_grad()
def test_a_model_that_gives_all_logits_is_read_at_the_same_places(base: Base) -> None:
    """Some ignore `logits_to_keep`."""
    ids, response = torch.tensor([[5, 6, 7, 8, 9], [50, 51, 52, 53, 54]]), torch.tensor([1, 3])
    tokens = Tokens(ids, torch.ones_like(ids), response)

    class Whole(torch.nn.Module):
        def forward(self, *, logits_to_keep: int, **asked: Any) -> Any:
            assert logits_to_keep == 4, "the head runs on more than it needs to"
            return base.model(**asked)

    assert_close(response_log_probs(Whole(), tokens), response_log_probs(base.model, tokens), **CLOSE)


def test_a_cut_prompt_counts_from_where_it_is_cut(base: Base, reward: RewardModel) -> None:
    engine = TransformersEngine(base, SteerablePolicy.new(base, reward, PolicyConfig(max_length=12)))
    prompt, response = texts_as_tokens(base, "a question that is too long", "words", chat=False)
    expected = sum(token_by_token(base.model, [1, *prompt[-5:]], response))
    assert engine.log_probs([("a question that is too long", "words")], None).item() == pytest.approx(
        expected, abs=2e-4
    )


def test_half_precision_is_summed_in_single(base_folder: Path) -> None:
    base = load_base(str(base_folder), dtype="bfloat16")
    ids = torch.randint(3, 200, (2, 60), generator=torch.Generator().manual_seed(0))
    tokens = Tokens(ids, torch.ones_like(ids), torch.tensor([50, 50]))
    with torch.no_grad():
        found = response_log_probs(base.model, tokens)
        logits = base.model(input_ids=ids).logits[:, 9:-1].double().log_softmax(-1)
    expected = logits.gather(2, ids[:, 10:, None]).sum((1, 2))
    assert found.dtype == torch.float32
    assert_close(found.double(), expected, rtol=1e-3, atol=0.0)


def test_they_carry_the_gradient_of_every_response_token(engine: TransformersEngine, policy: SteerablePolicy) -> None:
    """A row's sum moves as the sum of its tokens does; training rests on it."""
    tokens = engine.dialogue.batch([([5, 6, 7, 8, 9, 10], 3), ([11, 12, 13], 1)])
    gate: Any = policy.modulator.gate
    with engine.steered(Z[:2]) as model:
        response_log_probs(model, tokens).sum().backward()
        found = gate.grad.clone()
        policy.modulator.zero_grad()
        rows = [torch.tensor([[5, 6, 7, 8, 9, 10]]), torch.tensor([[11, 12, 13]])]
    for user, (row, count) in enumerate(zip(rows, (3, 1), strict=True)):
        with engine.steered(Z[user : user + 1]) as model:
            logits = model(input_ids=row).logits[0, -count - 1 : -1].log_softmax(-1)
            logits.gather(1, row[0, -count:, None]).sum().backward()
    assert found.abs().max() > 1e-3
    assert_close(found, gate.grad, rtol=1e-4, atol=1e-4)
