"""What steering is worth: answers on the same luck for every policy, their language, and shares of what can be had."""

import math
from typing import Any

import pytest
import torch
from moved_policy import answers as said_to
from moved_policy import moved
from torch import Tensor
from torch.testing import assert_close

import tacit_experiments.steering.outcomes as module
from tacit.engines import Answer, Base, Request, Sampling, TransformersEngine
from tacit.rewards import RewardModel
from tacit.steering import SteerablePolicy
from tacit_experiments.steering.outcomes import (
    answers_for,
    even_length_win_rate,
    language_health,
    steering_efficiency,
    win_rate,
)

SAMPLING = Sampling(max_new_tokens=5)
PROMPTS = [["one", "two"], ["three"], [], ["four", "five", "six"]]
Z = torch.randn(4, 4, generator=torch.Generator().manual_seed(2))


# -- answers -----------------------------------------------------------------------------------------------------------


def test_every_user_gets_one_answer_to_each_of_their_prompts(engine: TransformersEngine) -> None:
    found = answers_for(engine, PROMPTS, Z, SAMPLING)
    assert [len(answers) for answers in found] == [2, 1, 0, 3]
    flat = [(user, prompt) for user, asked in enumerate(PROMPTS) for prompt in asked]
    drawn = said_to(engine, [prompt for _, prompt in flat], Z[[user for user, _ in flat]], SAMPLING)
    assert [answer for answers in found for answer in answers] == [answers[0] for answers in drawn]


def test_without_z_the_base_writes(engine: TransformersEngine, base: Base, reward: RewardModel) -> None:
    plain = answers_for(engine, PROMPTS, None, SAMPLING)
    assert plain == answers_for(TransformersEngine(base, SteerablePolicy.new(base, reward)), PROMPTS, Z, SAMPLING)
    assert plain != answers_for(engine, PROMPTS, Z, SAMPLING)


def test_every_policy_has_the_same_luck(
    engine: TransformersEngine, base: Base, reward: RewardModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batch by batch: two policies that say the same things say the same answers, and a batch has luck of its own."""
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 2)
    first = answers_for(engine, PROMPTS, Z, SAMPLING)
    assert first == answers_for(engine, PROMPTS, Z, SAMPLING)
    torch.manual_seed(5)
    same = TransformersEngine(base, moved(SteerablePolicy.new(base, reward)))
    assert first == answers_for(same, PROMPTS, Z, SAMPLING)
    assert first != answers_for(engine, PROMPTS, Z, SAMPLING.model_copy(update={"seed": 9}))
    alike = answers_for(engine, [["one", "one"], ["one", "one"]], Z[[0, 0]], SAMPLING)
    assert alike[0] != alike[1], "two batches on one seed"


def test_however_many_samples_are_asked_one_is_drawn(engine: TransformersEngine) -> None:
    several = SAMPLING.model_copy(update={"samples": 3})
    assert answers_for(engine, PROMPTS, Z, several) == answers_for(engine, PROMPTS, Z, SAMPLING)


# -- language ----------------------------------------------------------------------------------------------------------


def test_perplexity_is_the_bases_per_token_whoever_wrote(engine: TransformersEngine) -> None:
    prompts, answers = ["p", "q", "r"], ["a cat sat", "the cat", "  "]
    with engine.steered(Z[:1]):
        health = language_health(engine, prompts, answers)
    logs = engine.log_probs([("p", "a cat sat"), ("q", "the cat")], None)
    tokens = len("a cat sat") + len("the cat") + 2  # and an end each
    assert health.perplexity == pytest.approx(math.exp(-logs.sum().item() / tokens), rel=1e-5)


def test_bigrams_words_and_blanks_are_counted(engine: TransformersEngine) -> None:
    health = language_health(engine, ["p"] * 4, ["a b a b", "a b", "c", " "])
    assert health.distinct == pytest.approx(2 / 4)  # ab ba ab, ab
    assert health.words == pytest.approx(7 / 4)
    assert health.empty == pytest.approx(1 / 4)


@pytest.mark.parametrize("answers", [[], [" ", ""]], ids=str)
def test_no_word_at_all_is_no_error(engine: TransformersEngine, answers: list[str]) -> None:
    health = language_health(engine, ["p"] * len(answers), answers)
    assert (health.distinct, health.words) == (0, 0)
    assert health.empty == 1
    assert health.perplexity == 1


def test_more_answers_than_fit_at_once_count_alike(engine: TransformersEngine) -> None:
    once = language_health(engine, ["p", "q"], ["a cat", "dogs"])
    often = language_health(engine, ["p", "q"] * 40, ["a cat", "dogs"] * 40)
    assert often.perplexity == pytest.approx(once.perplexity, rel=1e-4)


# -- efficiency --------------------------------------------------------------------------------------------------------


def test_efficiency_by_hand() -> None:
    """Means first, the ratio last: a user for whom nothing can be gained does no harm."""
    unsteered = torch.tensor([1.0, 2.0, 0.0])
    told = torch.tensor([3.0, 2.0, 4.0])  # gains 2, 0, 4: 2 on average
    gained = torch.tensor([[2.0, 2.0, 2.0], [1.0, 2.0, 0.0], [3.0, 2.0, 4.0], [0.0, 1.0, -1.0]])
    share, _ = steering_efficiency(gained, unsteered, told)
    assert_close(share, torch.tensor([0.5, 0.0, 1.0, -0.5], dtype=torch.float64))


def simulated(users: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    unsteered = torch.randn(users, generator=g)
    gain = 1 + 0.5 * torch.randn(users, generator=g)
    rows = torch.stack([unsteered + share * gain + 0.3 * torch.randn(users, generator=g) for share in (0.8, 0.3)])
    return rows, unsteered, unsteered + gain


def test_the_interval_holds_its_estimate_and_narrows_with_users() -> None:
    wide, narrow = (steering_efficiency(*simulated(users)) for users in (40, 4000))
    for share, interval in (wide, narrow):
        assert interval.shape == (2, 2)
        assert bool((interval[:, 0] < share).all())
        assert bool((share < interval[:, 1]).all())
    assert_close(narrow[0].float(), torch.tensor([0.8, 0.3]), atol=0.03, rtol=0)
    assert bool((narrow[1].diff(dim=1) < 0.2 * wide[1].diff(dim=1)).all())


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    inside = 0
    for seed in range(200):
        _, interval = steering_efficiency(*simulated(60, seed), resamples=300)
        inside += int(interval[0, 0] <= 0.8 <= interval[0, 1])
    assert 178 <= inside <= 199  # 95 % of 200, give or take 3.7 standard deviations


def test_a_resample_draws_the_same_users_for_all_three() -> None:
    """A method that gains exactly half of what can be gained has an interval of no width."""
    _, unsteered, told = simulated(50)
    share, interval = steering_efficiency((unsteered + 0.5 * (told - unsteered)).unsqueeze(0), unsteered, told)
    assert_close(interval, torch.full((1, 2), 0.5, dtype=torch.float64), rtol=0, atol=1e-6)
    assert share.item() == pytest.approx(0.5)


def test_the_interval_is_fixed_by_its_seed_and_touches_no_other() -> None:
    before, arguments = torch.get_rng_state(), simulated(40)
    first = steering_efficiency(*arguments)[1]
    assert torch.equal(first, steering_efficiency(*arguments)[1])
    assert not torch.equal(first, steering_efficiency(*arguments, seed=1)[1])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"), [([1.0, 2.0, 3.0, 0.0], [0.0, 2.0, 4.0, -1.0], 0.625), ([1.0], [1.0], 0.5)]
)
def test_a_tie_is_half_a_win(ours: list[float], theirs: list[float], expected: float) -> None:
    assert win_rate(torch.tensor(ours), torch.tensor(theirs)).item() == expected
    assert win_rate(torch.tensor(theirs), torch.tensor(ours)).item() == 1 - expected


def test_nothing_is_left_of_another_users_words(engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Users stand in the order of their prompts, also across batches."""
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 2)

    def echo(self: Any, asked: list[Request]) -> list[list[Answer]]:
        return [[Answer(f"{one.messages} {one.z[0]:.3f}", True, 1)] for one in asked]

    monkeypatch.setattr(TransformersEngine, "generate", echo)
    found = answers_for(engine, PROMPTS, Z, SAMPLING)
    assert found == [[f"{prompt} {Z[user, 0]:.3f}" for prompt in asked] for user, asked in enumerate(PROMPTS)]


def test_at_equal_lengths_the_even_length_win_rate_is_the_win_rate() -> None:
    ours, theirs = torch.tensor([1.0, 2.0, 3.0, 0.0]), torch.tensor([0.0, 0.0, 0.0, 1.0])
    words = torch.full((4,), 20.0)
    many = [part.repeat(100) for part in (ours, theirs, words, words)]
    assert even_length_win_rate(*many) == pytest.approx(0.75, abs=1e-3)


def test_winning_by_length_alone_is_worth_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    more = torch.randn(2000, generator=generator) + 1.0
    ours = more + torch.randn(2000, generator=generator)
    zeros = torch.zeros(2000)
    assert win_rate(ours, zeros) > 0.7
    assert even_length_win_rate(ours, zeros, 50 + 10 * more, zeros + 50) == pytest.approx(0.5, abs=0.04)


def test_who_always_wins_has_a_finite_win_rate() -> None:
    assert 0.9 < even_length_win_rate(torch.ones(50), torch.zeros(50), torch.arange(50.0), torch.zeros(50)) <= 1
